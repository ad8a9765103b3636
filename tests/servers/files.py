"""A file server: ``files`` is {path: bytes or a Path}."""

from servers.http import Server


class Files(Server):
    """Serves ``files``; with a login only to those who have it."""

    def __init__(self, files=None, **options):
        super().__init__(**options)
        self.files = files or {}

    def answer(self, handler):
        """Answer one request."""
        if self.login and not self.user(handler):
            return handler.send(401, b"", WWW_Authenticate='Basic realm="test"')
        body = self.files.get(handler.path)
        return handler.send(404) if body is None else handler.send(200, body)

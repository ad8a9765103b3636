"""Past one machine: shards of the workers, each carried out by one of several controllers. See docs/controllers.md."""

"""Planning at every effort, the precision ladder, and the trials that they run."""

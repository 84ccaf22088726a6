"""Programs that live on Redis, unmodified, each doing what its user does against a real `flin serve`."""

"""MLflow: sending runs, the model flavour, the registry. Only `frisket.platform.tracking.settings`, ``uploader`` and
``background`` may be imported where MLflow is absent."""

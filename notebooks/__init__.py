"""The notebooks and what they share, as data that an installed `snn` can bring to a SageMaker notebook instance."""

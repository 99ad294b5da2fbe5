"""What one neuron invocation computes, and the cache that its arrays travel through."""

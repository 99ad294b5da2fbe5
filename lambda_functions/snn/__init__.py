"""The network, in pure NumPy.

To read in one sitting, in this order: activations, layers, losses, network (which has the way forward and back), here,
training. What a training can choose among, each a registry: strategies, optimizers, schedules, augmentation. How the
first layer is spared most of its work: span. How data come in and are held out: batches, validation. When it says
class 1: decision. What may be asked for: recipe.
"""

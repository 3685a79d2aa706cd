"""A Keras 3 cell, and one through whose memory no gradient passes; on PyTorch or on JAX, by KERAS_BACKEND.

lstm-checks verify examples/keras_layer.py:Cell
lstm-checks verify examples/keras_layer.py:Forgetful
lstm-checks verify examples/keras_layer.py:make
"""

import keras
from keras import ops


class Cell(keras.layers.Layer):
    """One step of an LSTM, with the weights of keras.layers.LSTM; Keras's RNN runs it over all steps."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units, self.state_size = units, [units, units]

    def build(self, shape):
        """Make the weights: the gates i f c o beside each other."""
        self.kernel = self.add_weight(shape=(shape[-1], 4 * self.units), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.units, 4 * self.units), name="recurrent_kernel")
        self.bias = self.add_weight(shape=(4 * self.units,), name="bias")

    def remember(self, C):
        """Return the memory as it goes into the next step."""
        return C

    def call(self, x, states):
        """Return h, and the states h and C."""
        h, C = states
        k = ops.matmul(x, self.kernel) + ops.matmul(h, self.recurrent_kernel) + self.bias
        i, f, g, o = ops.split(k, 4, axis=-1)
        C = ops.sigmoid(f) * self.remember(C) + ops.sigmoid(i) * ops.tanh(g)
        h = ops.sigmoid(o) * ops.tanh(C)
        return h, [h, C]


class Forgetful(Cell):
    """The same, but the gradient stops at the memory."""

    def remember(self, C):
        """Return the memory, cut off."""
        return ops.stop_gradient(C)


def make(units):
    """Return a layer: any function of the number of units that makes one will do."""
    return keras.layers.LSTM(units, return_sequences=True, return_state=True)

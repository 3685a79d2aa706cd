"""An LSTM cell for Keras 3, on PyTorch or on JAX. It is right as it stands; put your own lines in place of these.

lstm-checks verify lstm_keras.py:Cell
"""

import keras
from keras import ops


class Cell(keras.layers.Layer):
    """One step of an LSTM, which keras.layers.RNN runs over all of them; the order of its gates is found out."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units, self.state_size = units, [units, units]

    def build(self, shape):
        """Make the weights of all four gates at once."""
        self.kernel = self.add_weight(shape=(shape[-1], 4 * self.units), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.units, 4 * self.units), name="recurrent_kernel")
        self.bias = self.add_weight(shape=(4 * self.units,), name="bias")

    def call(self, x, states):
        """Return h, and the states h and C."""
        h, C = states
        k = ops.matmul(x, self.kernel) + ops.matmul(h, self.recurrent_kernel) + self.bias
        i, f, g, o = ops.split(k, 4, axis=-1)
        C = ops.sigmoid(f) * C + ops.sigmoid(i) * ops.tanh(g)
        h = ops.sigmoid(o) * ops.tanh(C)
        return h, [h, C]

"""The one place where TensorFlow and Keras enter tfprune.

`keras` is whatever `tf.keras` is: Keras 3, or tf_keras where `TF_USE_LEGACY_KERAS=1`
was set before TensorFlow was imported. Nothing here touches the environment.
"""

from __future__ import annotations

import tensorflow as tf

keras = tf.keras

#: True under tf_keras (the Keras 2 line), False under Keras 3.
IS_TF_KERAS: bool = keras.layers.Layer.__module__.startswith("tf_keras")

__all__ = ["IS_TF_KERAS", "keras", "tf"]

"""Networks to train and convert: builders, recipes and measures around Keras 3 (extra ``train``).

Nothing heavy is imported here. ``tcnstream.zoo.tcn`` builds temporal convolutional networks,
``tcnstream.zoo.convert`` turns a trained model into a .tflite file.
"""

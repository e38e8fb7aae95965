from liftbench.lstm_transformer.model import LSTM, MLP, Transformer

__all__ = ["LSTM", "MLP", "Transformer"]

"""The model as code, which MLflow keeps with a logged model in place of a pickle: what loads it reads this file."""

from mlflow.models import set_model

from dysconnect.tracking.models import ConnectomeModel

set_model(ConnectomeModel())

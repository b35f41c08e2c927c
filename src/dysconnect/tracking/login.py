"""A login for MLflow's interface, ``python -m dysconnect.tracking.login NAME``: `make ui LOGIN=NAME` asks for it.

Without one every process of the machine may read and change the runs, and the models that others will load.
"""

import os
import re
import secrets
import sys
from pathlib import Path

FILE = Path("results/mlflow-login.ini")
FORM = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///results/mlflow-login.db
admin_username = {name}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
grant_default_workspace_access = false
"""


def make_login(name: str, file: Path = FILE) -> str:
    """Write a new name with a new password, for nobody else to read; what is there already stays.

    Parameters
    ----------
    name : str
    file : path

    Returns
    -------
    str
        What to tell the user.

    Raises
    ------
    ValueError
        When the name is none, or another than the one there is.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.@-]+", name):
        raise ValueError(f"LOGIN={name!r}: a name of letters, digits and . _ @ - is needed.")
    if file.exists():
        earlier = re.search(r"admin_username = (.*)", file.read_text())
        if earlier is None or earlier[1] != name:
            raise ValueError(
                f"{file} is the login of {earlier[1] if earlier else 'nobody'}. Give that name, or remove the file and "
                f"{file.with_suffix('.db')} for a new one."
            )
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(FORM.format(name=name, password=secrets.token_urlsafe(15)))
        os.close(os.open(file.with_suffix(".db"), os.O_WRONLY | os.O_CREAT, 0o600))  # MLflow would let all read it
    return f"User {name}; the password is in {file}, which only you can read."


if __name__ == "__main__":
    try:
        print(make_login(" ".join(sys.argv[1:])))
    except ValueError as error:
        sys.exit(str(error))

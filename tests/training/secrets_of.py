"""An address with a password and a signature in it, and where these are found."""

SECRETS = (b"hunter2", b"5ec2e7")
ADDRESS = "https://me:hunter2@host/proteins.gz?X-Amz-Signature=5ec2e7"


def leaks(folder):
    return [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and any(secret in path.read_bytes() for secret in SECRETS)
    ]

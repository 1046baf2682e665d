"""Object stores with one S3 client per test."""

import pytest


@pytest.fixture
def bucket(bucket, monkeypatch):
    """Makes Beam use one S3 client, because it makes one per file, which takes 0.2 s."""
    from apache_beam.io.aws.clients.s3 import boto3_client

    client = boto3_client.Client(options={})
    monkeypatch.setattr(boto3_client, "Client", lambda options: client)
    return bucket

"""Settings of object storage."""

from pydantic import Field, SecretStr

from core.platform.settings.base import Settings, Url


class StorageSettings(Settings):
    """Object storage: AWS S3, Cloudflare R2 or another S3-compatible server."""

    s3_endpoint_url: Url | None = Field(
        default=None, description="address of the S3 server; default: AWS"
    )
    s3_bucket: str = Field(
        description="bucket for produced files", examples=["takeone-assets"], min_length=3
    )
    aws_access_key_id: str = Field(description="access key of the bucket", examples=["AKIA..."])
    aws_secret_access_key: SecretStr = Field(description="secret of the access key")
    aws_region: str = Field(default="us-east-1", description="region of the bucket; R2: auto")
    cdn_base_url: Url | None = Field(
        default=None,
        description="public address in front of the bucket; default: none, links are presigned and expire",
    )

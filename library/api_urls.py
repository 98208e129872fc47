"""Addresses of the API's calls about models and files that become models."""

from django.urls import path

from library import api

UPLOAD = "models/uploads/<str:upload_id>"
ASSET = "models/<str:asset_id>"

urlpatterns = [
    path("models/uploads", api.ModelUploadsView.as_view(), name="api-model-uploads"),
    path(UPLOAD, api.ModelUploadView.as_view(), name="api-model-upload"),
    path(
        UPLOAD + "/content", api.ModelUploadContentView.as_view(), name="api-model-upload-content"
    ),
    path(UPLOAD + "/retry", api.ModelUploadRetryView.as_view(), name="api-model-upload-retry"),
    path(ASSET, api.AssetView.as_view(), name="api-model"),
    path(ASSET + "/restore", api.AssetRestoreView.as_view(), name="api-model-restore"),
]

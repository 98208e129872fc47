"""Addresses of the pages of models."""

from django.urls import path

from accounts.urls import ORGANIZATION
from library import views

MODELS = ORGANIZATION + "models"
UPLOAD = MODELS + "/uploads/<str:upload_id>"
ASSET = MODELS + "/<str:asset_id>"

urlpatterns = [
    path(MODELS, views.models, name="models"),
    path(MODELS + "/live", views.models_live, name="models-live"),
    path(MODELS + "/uploads", views.upload_begin, name="model-upload-begin"),
    path(UPLOAD, views.upload_state, name="model-upload"),
    path(UPLOAD + "/content", views.upload_content, name="model-upload-content"),
    path(UPLOAD + "/retry", views.upload_retry, name="model-upload-retry"),
    path(UPLOAD + "/cancel", views.upload_cancel, name="model-upload-cancel"),
    path(ASSET, views.model, name="model"),
    path(ASSET + "/change", views.model_change, name="model-change"),
    path(ASSET + "/remove", views.model_remove, name="model-remove"),
    path(ASSET + "/restore", views.model_restore, name="model-restore"),
]

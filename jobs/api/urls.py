"""Addresses of the API."""

from django.urls import path

from jobs.api import projects, shares, views

urlpatterns = [
    path("models", views.ModelsView.as_view(), name="api-models"),
    path("samplers", views.SamplersView.as_view(), name="api-samplers"),
    path("workspaces", views.WorkspacesView.as_view(), name="api-workspaces"),
    path("jobs", views.JobsView.as_view(), name="api-jobs"),
    path("jobs/<str:job_id>", views.JobView.as_view(), name="api-job"),
    path("jobs/<str:job_id>/cancel", views.JobCancelView.as_view(), name="api-job-cancel"),
    path("jobs/<str:job_id>/events", views.JobEventsView.as_view(), name="api-job-events"),
    path("outputs", views.OutputsView.as_view(), name="api-outputs"),
    path("outputs/<str:output_id>", views.OutputView.as_view(), name="api-output"),
    path("outputs/<str:output_id>/rerun", views.OutputRerunView.as_view(), name="api-rerun"),
    path("outputs/<str:output_id>/restore", views.OutputRestoreView.as_view(), name="api-restore"),
    path("projects", projects.ProjectsView.as_view(), name="api-projects"),
    path("projects/<str:project_id>", projects.ProjectView.as_view(), name="api-project"),
    path(
        "projects/<str:project_id>/outputs",
        projects.ProjectOutputsView.as_view(),
        name="api-project-outputs",
    ),
    path("shares", shares.SharesView.as_view(), name="api-shares"),
    path("shares/<str:share_id>", shares.ShareView.as_view(), name="api-share"),
    path("uploads", views.UploadsView.as_view(), name="api-uploads"),
]

"""Addresses of the API."""

from django.urls import path

from jobs.api import (
    batches,
    cutting,
    fleet,
    grids,
    people,
    projects,
    queue,
    shares,
    uploads,
    varying,
    views,
    workspaces,
)
from jobs.api.adapters import AdaptersView
from jobs.api.controls import ControlsView, MapsView

WORKSPACE = "workspaces/<str:workspace_id>"
FLEET_AGENT = "fleet/agents/<str:agent_id>"
FLEET_SHARE = "fleet/shares/<str:customer_id>"
JOIN_TOKENS = "fleet/join-tokens"

urlpatterns = [
    path("adapters", AdaptersView.as_view(), name="api-adapters"),
    path("controls", ControlsView.as_view(), name="api-controls"),
    path("maps", MapsView.as_view(), name="api-maps"),
    path("models", views.ModelsView.as_view(), name="api-models"),
    path("samplers", views.SamplersView.as_view(), name="api-samplers"),
    path("workspaces", workspaces.WorkspacesView.as_view(), name="api-workspaces"),
    path(WORKSPACE, workspaces.WorkspaceView.as_view(), name="api-workspace"),
    path(
        WORKSPACE + "/restore",
        workspaces.WorkspaceRestoreView.as_view(),
        name="api-workspace-restore",
    ),
    path(WORKSPACE + "/access", workspaces.WorkspaceAccessView.as_view(), name="api-access"),
    path(WORKSPACE + "/grants", workspaces.GrantsView.as_view(), name="api-grants"),
    path(WORKSPACE + "/grants/<str:grant_id>", workspaces.GrantView.as_view(), name="api-grant"),
    path("organization/export", workspaces.ExportView.as_view(), name="api-export"),
    path("batches", batches.BatchesView.as_view(), name="api-batches"),
    path("batches/count", batches.BatchCountView.as_view(), name="api-batch-count"),
    path("wildcards", batches.WildcardsView.as_view(), name="api-wildcards"),
    path("wildcards/<str:wildcard_id>", batches.WildcardView.as_view(), name="api-wildcard"),
    path("grids", grids.GridsView.as_view(), name="api-grids"),
    path("grids/count", grids.GridCountView.as_view(), name="api-grid-count"),
    path("grids/<str:grid_id>", grids.GridView.as_view(), name="api-grid"),
    path("jobs", views.JobsView.as_view(), name="api-jobs"),
    path("jobs/<str:job_id>", views.JobView.as_view(), name="api-job"),
    path("jobs/<str:job_id>/cancel", views.JobCancelView.as_view(), name="api-job-cancel"),
    path("jobs/<str:job_id>/pause", queue.JobPauseView.as_view(), name="api-job-pause"),
    path("jobs/<str:job_id>/resume", queue.JobResumeView.as_view(), name="api-job-resume"),
    path("jobs/<str:job_id>/move", queue.JobMoveView.as_view(), name="api-job-move"),
    path("jobs/<str:job_id>/retry", queue.JobRetryView.as_view(), name="api-job-retry"),
    path("forecast", queue.ForecastView.as_view(), name="api-forecast"),
    path("jobs/<str:job_id>/events", views.JobEventsView.as_view(), name="api-job-events"),
    path("outputs", views.OutputsView.as_view(), name="api-outputs"),
    path("outputs/<str:output_id>", views.OutputView.as_view(), name="api-output"),
    path("outputs/<str:output_id>/rerun", views.OutputRerunView.as_view(), name="api-rerun"),
    path(
        "outputs/<str:output_id>/variations",
        varying.OutputVariationsView.as_view(),
        name="api-variations",
    ),
    path("outputs/<str:output_id>/upscale", views.OutputUpscaleView.as_view(), name="api-upscale"),
    path("outputs/<str:output_id>/cutout", cutting.OutputCutoutView.as_view(), name="api-cutout"),
    path(
        "outputs/<str:output_id>/start",
        uploads.OutputStartView.as_view(),
        name="api-output-start",
    ),
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
    path("members", people.MembersView.as_view(), name="api-members"),
    path("members/<str:user_id>", people.MemberView.as_view(), name="api-member"),
    path("invitations", people.InvitationsView.as_view(), name="api-invitations"),
    path(
        "invitations/<str:invitation_id>/resend",
        people.InvitationResendView.as_view(),
        name="api-invitation-resend",
    ),
    path(
        "invitations/<str:invitation_id>/revoke",
        people.InvitationRevokeView.as_view(),
        name="api-invitation-revoke",
    ),
    path("teams", people.TeamsView.as_view(), name="api-teams"),
    path("teams/<str:team_id>", people.TeamView.as_view(), name="api-team"),
    path("service-accounts", people.ServiceAccountsView.as_view(), name="api-service-accounts"),
    path("uploads", uploads.UploadsView.as_view(), name="api-uploads"),
    path(
        "uploads/from-address",
        uploads.UploadFromAddressView.as_view(),
        name="api-upload-from-address",
    ),
    path("fleet", fleet.FleetView.as_view(), name="api-fleet"),
    path("fleet/agents", fleet.FleetAgentsView.as_view(), name="api-fleet-agents"),
    path(FLEET_AGENT, fleet.FleetAgentView.as_view(), name="api-fleet-agent"),
    path("fleet/events", fleet.FleetEventsView.as_view(), name="api-fleet-events"),
    path("fleet/pins", fleet.FleetPinsView.as_view(), name="api-fleet-pins"),
    path("fleet/pins/<str:version_id>", fleet.FleetPinView.as_view(), name="api-fleet-pin"),
    path("fleet/shares", fleet.FleetSharesView.as_view(), name="api-fleet-shares"),
    path(FLEET_SHARE, fleet.FleetShareView.as_view(), name="api-fleet-share"),
    path("fleet/policy", fleet.FleetPolicyView.as_view(), name="api-fleet-policy"),
    path(JOIN_TOKENS, fleet.FleetJoinTokensView.as_view(), name="api-join-tokens"),
    path(
        JOIN_TOKENS + "/<str:join_id>",
        fleet.FleetJoinTokenView.as_view(),
        name="api-join-token",
    ),
]

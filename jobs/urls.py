"""Addresses of the room, of leaving an organization and of the agents' API."""

from django.urls import path

from accounts.urls import MEMBER, ORGANIZATION
from jobs import agent_api, agent_join
from jobs.views import (
    access,
    export,
    fleet,
    fleet_settings,
    grids,
    leaving,
    maps,
    outputs,
    projects,
    room,
    shared,
    shares,
    waiting,
    wildcards,
    workspaces,
)

WORKSPACE = "w/<str:workspace_id>/"
JOB = WORKSPACE + "jobs/<str:job_id>/"
OUTPUT = WORKSPACE + "outputs/<str:output_id>"
GRID = WORKSPACE + "grids/<str:grid_id>"
PROJECTS = WORKSPACE + "projects"
SHARES = WORKSPACE + "shares"
SHARED = "s/<str:token>"
FLEET = ORGANIZATION + "fleet"
FLEET_AGENT = FLEET + "/agents/<str:agent_id>"
ATTEMPT = "agent/v1/attempts/<str:attempt_id>/"

urlpatterns = [
    path("", room.home, name="home"),
    path(WORKSPACE, room.room, name="room"),
    path(WORKSPACE + "jobs", room.job_submit, name="job-submit"),
    path(JOB + "tile", room.job_tiles_view, name="job-tiles"),
    path(JOB + "parameters", room.job_parameters, name="job-parameters"),
    path(JOB + "map", maps.job_map, name="job-map"),
    path(JOB + "cancel", room.job_cancel, name="job-cancel"),
    path(JOB + "pause", waiting.job_pause, name="job-pause"),
    path(JOB + "resume", waiting.job_resume, name="job-resume"),
    path(JOB + "move", waiting.job_move, name="job-move"),
    path(JOB + "retry", waiting.job_retry, name="job-retry"),
    path(WORKSPACE + "queue", waiting.queue, name="queue"),
    path(WORKSPACE + "forecast", waiting.forecast, name="forecast"),
    path(WORKSPACE + "grids", grids.grids, name="grids"),
    path(WORKSPACE + "grids/new", grids.grid_new, name="grid-new"),
    path(WORKSPACE + "grids/count", grids.grid_count, name="grid-count"),
    path(GRID, grids.grid, name="grid"),
    path(GRID + "/live", grids.grid_live, name="grid-live"),
    path(GRID + "/sheet", grids.grid_sheet, name="grid-sheet"),
    path(WORKSPACE + "alternatives", room.alternatives, name="alternatives"),
    path(WORKSPACE + "wildcards", wildcards.wildcards, name="wildcards"),
    path(
        WORKSPACE + "wildcards/<str:wildcard_id>", wildcards.wildcard_change, name="wildcard-change"
    ),
    path(WORKSPACE + "gallery", room.gallery, name="gallery"),
    path(WORKSPACE + "uploads", room.upload, name="upload"),
    path(WORKSPACE + "uploads/from-address", room.upload_from_address, name="upload-from-address"),
    path(WORKSPACE + "maps", maps.draw_map, name="draw-map"),
    path(WORKSPACE + "access", access.access, name="access"),
    path(WORKSPACE + "access/settings", access.workspace_change, name="workspace-change"),
    path(WORKSPACE + "access/grants", access.access_grant, name="access-grant"),
    path(WORKSPACE + "access/grants/<str:grant_id>", access.grant, name="grant"),
    path(WORKSPACE + "delete", access.workspace_delete, name="workspace-delete"),
    path(ORGANIZATION + "workspaces", workspaces.workspaces, name="workspaces"),
    path(
        ORGANIZATION + "workspaces/<str:workspace_id>/restore",
        workspaces.workspace_restore,
        name="workspace-restore",
    ),
    path(ORGANIZATION + "export", export.organization_export, name="organization-export"),
    path(OUTPUT, outputs.output_view, name="output"),
    path(OUTPUT + "/parameters", outputs.output_parameters, name="output-parameters"),
    path(OUTPUT + "/download", outputs.output_download, name="output-download"),
    path(OUTPUT + "/rerun", outputs.output_rerun, name="output-rerun"),
    path(OUTPUT + "/upscale", outputs.output_upscale, name="output-upscale"),
    path(OUTPUT + "/cutout", outputs.output_cutout, name="output-cutout"),
    path(OUTPUT + "/variations", outputs.output_variations, name="output-variations"),
    path(OUTPUT + "/start", outputs.output_start, name="output-start"),
    path(OUTPUT + "/trash", outputs.output_trash, name="output-trash"),
    path(OUTPUT + "/restore", outputs.output_restore, name="output-restore"),
    path(OUTPUT + "/project", outputs.output_project, name="output-project"),
    path(PROJECTS, projects.projects, name="projects"),
    path(PROJECTS + "/<str:project_id>", projects.project_change, name="project-change"),
    path(SHARES, shares.shares, name="shares"),
    path(SHARES + "/new", shares.share_new, name="share-new"),
    path(SHARES + "/<str:share_id>/revoke", shares.share_revoke, name="share-revoke"),
    path(SHARED, shared.shared, name="shared"),
    path(SHARED + "/<str:output_id>", shared.shared_picture_page, name="shared-page"),
    path(SHARED + "/pictures/<str:output_id>", shared.shared_picture, name="shared-picture"),
    path(SHARED + "/thumbnails/<str:output_id>", shared.shared_thumbnail, name="shared-thumbnail"),
    path("s/<path:rest>", shared.nowhere, name="shared-nowhere"),
    path(MEMBER + "/remove", leaving.member_remove, name="member-remove"),
    path(ORGANIZATION + "leave", leaving.leave, name="leave"),
    path(FLEET, fleet.fleet, name="fleet"),
    path(FLEET + "/live", fleet.fleet_live, name="fleet-live"),
    path(FLEET_AGENT, fleet.fleet_agent, name="fleet-agent"),
    path(FLEET_AGENT + "/state", fleet.fleet_agent_state, name="fleet-agent-state"),
    path(FLEET_AGENT + "/labels", fleet.fleet_agent_labels, name="fleet-agent-labels"),
    path(FLEET_AGENT + "/remove", fleet.fleet_agent_remove, name="fleet-agent-remove"),
    path(FLEET + "/models", fleet_settings.fleet_models, name="fleet-models"),
    path(FLEET + "/models/<str:version_id>", fleet_settings.fleet_pin, name="fleet-pin"),
    path(FLEET + "/sharing", fleet_settings.fleet_sharing, name="fleet-sharing"),
    path(FLEET + "/sharing/policy", fleet_settings.fleet_policy, name="fleet-policy"),
    path(FLEET + "/sharing/<str:customer_id>", fleet_settings.fleet_share, name="fleet-share"),
    path(FLEET + "/joining", fleet_settings.fleet_joining, name="fleet-joining"),
    path(FLEET + "/joining/new", fleet_settings.fleet_join_new, name="fleet-join-new"),
    path(
        FLEET + "/joining/<str:join_id>/revoke",
        fleet_settings.fleet_join_revoke,
        name="fleet-join-revoke",
    ),
    path("agent/v1/join", agent_join.join_fleet, name="agent-join"),
    path("agent/v1/register", agent_api.register, name="agent-register"),
    path("agent/v1/queue", agent_api.queue, name="agent-queue"),
    path("agent/v1/heartbeat", agent_api.heartbeat, name="agent-heartbeat"),
    path(ATTEMPT + "claim", agent_api.claim, name="agent-claim"),
    path(ATTEMPT + "outputs", agent_api.outputs, name="agent-outputs"),
    path(ATTEMPT + "finish", agent_api.finish, name="agent-finish"),
    path(ATTEMPT + "inputs/<str:artifact_id>", agent_api.input_bytes, name="agent-input"),
    path("agent/v1/store/<str:artifact_id>", agent_api.store, name="agent-store"),
    path("agent/v1/models/<str:sha256>", agent_api.model_bytes, name="agent-model"),
]

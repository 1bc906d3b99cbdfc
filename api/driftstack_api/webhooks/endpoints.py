"""The routes of `/v1/webhooks` and `/v1/webhook-deliveries`: read the request, call one service, answer."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response, Security

from driftstack_api.auth import ACCOUNT_OWNER, READ_WEBHOOKS, Caller, Requires
from driftstack_api.bodies import JsonBody, request_body
from driftstack_api.openapi import links, problems
from driftstack_api.services import services
from driftstack_api.webhooks.schemas import (
    CreateWebhook,
    DeliveryId,
    DeliveryObject,
    DeliveryPage,
    DeliveryQuery,
    NewSecret,
    NewWebhook,
    TestSent,
    UpdateWebhook,
    WebhookId,
    WebhookList,
    WebhookObject,
)

BODIES: Final = (CreateWebhook, UpdateWebhook)
ANSWERS: Final = (WebhookObject, NewWebhook, DeliveryObject)

router = APIRouter(prefix="/v1", tags=["webhooks"])

Reader = Annotated[Caller, Security(Requires(READ_WEBHOOKS))]
Owner = Annotated[Caller, Security(Requires(ACCOUNT_OWNER))]


@router.post(
    "/webhooks",
    status_code=201,
    operation_id="create_webhook",
    summary="Create a webhook endpoint",
    openapi_extra=request_body(CreateWebhook),
    responses={
        201: {
            "links": links(
                "webhook_id",
                "/id",
                "get_webhook",
                "update_webhook",
                "test_webhook",
                "rotate_webhook_secret",
                "list_deliveries",
                "delete_webhook",
            )
        },
        **problems("bad-request", "validation-failed", "conflict", "payload-too-large"),
    },
)
async def create_webhook(
    request: Request, caller: Owner, body: Annotated[CreateWebhook, Depends(JsonBody(CreateWebhook))]
) -> NewWebhook:
    """Subscribes a URL to events, and shows the secret that they are signed with, once."""
    return await services(request).webhooks.create(caller, body)


@router.get("/webhooks", summary="List webhook endpoints", responses=problems())
async def list_webhooks(request: Request, caller: Reader) -> WebhookList:
    """All endpoints of the account, newest first, disabled ones included."""
    return services(request).webhooks.list_all(caller)


@router.get("/webhooks/{webhook_id}", summary="Read a webhook endpoint", responses=problems("not-found"))
async def get_webhook(request: Request, webhook_id: WebhookId, caller: Reader) -> WebhookObject:
    """One endpoint, a disabled one included."""
    return await services(request).webhooks.get(caller, webhook_id)


@router.patch(
    "/webhooks/{webhook_id}",
    summary="Change a webhook endpoint",
    openapi_extra=request_body(UpdateWebhook),
    responses=problems("bad-request", "validation-failed", "not-found", "conflict", "payload-too-large"),
)
async def update_webhook(
    request: Request,
    webhook_id: WebhookId,
    caller: Owner,
    body: Annotated[UpdateWebhook, Depends(JsonBody(UpdateWebhook))],
) -> WebhookObject:
    """Changes what is given: another URL or other events, a pause, the description. A disabled endpoint is 409."""
    return await services(request).webhooks.update(caller, webhook_id, body)


@router.delete(
    "/webhooks/{webhook_id}", status_code=204, summary="Delete a webhook endpoint", responses=problems("not-found")
)
async def delete_webhook(request: Request, webhook_id: WebhookId, caller: Owner) -> Response:
    """Disables the endpoint for good: what has not arrived yet is given up. Repeating it is fine."""
    await services(request).webhooks.delete(caller, webhook_id)
    return Response(status_code=204)


@router.post(
    "/webhooks/{webhook_id}/test",
    status_code=202,
    summary="Send a test event",
    responses={
        202: {"links": links("delivery_id", "/delivery_id", "replay_delivery")},
        **problems("not-found", "conflict"),
    },
)
async def test_webhook(request: Request, webhook_id: WebhookId, caller: Owner) -> TestSent:
    """Has a `test.ping` sent, whatever the endpoint subscribes to; its delivery tells what became of it."""
    return await services(request).deliveries.test(caller, webhook_id)


@router.post(
    "/webhooks/{webhook_id}/rotate-secret",
    summary="Rotate the secret",
    responses=problems("not-found", "conflict"),
)
async def rotate_webhook_secret(request: Request, webhook_id: WebhookId, caller: Owner) -> NewSecret:
    """Makes a new secret and shows it, once. For 24 hours deliveries are signed with both, in one header."""
    return await services(request).webhooks.rotate(caller, webhook_id)


@router.get(
    "/webhooks/{webhook_id}/deliveries",
    summary="List deliveries",
    responses={
        200: {"links": links("cursor", "/next_cursor", "list_deliveries")},
        **problems("validation-failed", "not-found"),
    },
)
async def list_deliveries(
    request: Request, webhook_id: WebhookId, caller: Reader, query: Annotated[DeliveryQuery, Query()]
) -> DeliveryPage:
    """What was or will be sent to an endpoint, newest first, for as long as history is kept."""
    return await services(request).deliveries.list_page(caller, webhook_id, query)


@router.post(
    "/webhook-deliveries/{delivery_id}/replay",
    summary="Replay a delivery",
    responses=problems("not-found", "conflict"),
)
async def replay_delivery(request: Request, delivery_id: DeliveryId, caller: Owner) -> DeliveryObject:
    """Sends a delivery anew, with the same event id and all attempts before it, whatever became of it."""
    return await services(request).deliveries.replay(caller, delivery_id)

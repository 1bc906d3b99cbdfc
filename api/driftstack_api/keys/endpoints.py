"""The routes of `/v1/api-keys`: read the request, call one service, answer."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response, Security

from driftstack_api.auth import ADMIN_KEYS, READ_KEYS, Caller, Requires
from driftstack_api.bodies import JsonBody, request_body
from driftstack_api.keys.schemas import CreateKey, KeyId, KeyList, KeyObject, NewKey
from driftstack_api.openapi import links, problems
from driftstack_api.services import services

BODIES: Final = (CreateKey,)
ANSWERS: Final = (KeyObject, NewKey)

router = APIRouter(prefix="/v1/api-keys", tags=["api-keys"])

Reader = Annotated[Caller, Security(Requires(READ_KEYS))]
Admin = Annotated[Caller, Security(Requires(ADMIN_KEYS))]


@router.post(
    "",
    status_code=201,
    operation_id="create_key",
    summary="Create an API key",
    openapi_extra=request_body(CreateKey),
    responses={
        201: {"links": links("key_id", "/id", "revoke_key", "rotate_key")},
        **problems("bad-request", "validation-failed", "conflict", "payload-too-large"),
    },
)
async def create_key(
    request: Request, caller: Admin, body: Annotated[CreateKey, Depends(JsonBody(CreateKey))]
) -> NewKey:
    """Makes a key and shows it, once. It may do nothing that the calling key may not."""
    return await services(request).keys.create(caller, body)


@router.get("", summary="List API keys", responses=problems())
async def list_keys(request: Request, caller: Reader) -> KeyList:
    """All keys of the account, newest first."""
    return services(request).keys.list_all(caller)


@router.delete("/{key_id}", status_code=204, summary="Revoke an API key", responses=problems("not-found"))
async def revoke_key(request: Request, key_id: KeyId, caller: Admin) -> Response:
    """Revokes a key for good, the calling one if you like. Repeating it is fine."""
    await services(request).keys.revoke(caller, key_id)
    return Response(status_code=204)


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    summary="Rotate an API key",
    responses=problems("not-found", "conflict"),
)
async def rotate_key(request: Request, key_id: KeyId, caller: Admin) -> NewKey:
    """Makes a key like this one, which itself works 24 more hours at most."""
    return await services(request).keys.rotate(caller, key_id)

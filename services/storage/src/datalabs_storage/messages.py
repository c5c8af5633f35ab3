"""What storage answers and hears over NATS."""

from datalabs_contracts import rpc
from datalabs_contracts.base import Nothing, Page, PageQuery
from datalabs_contracts.datalabs import Collection, CollectionRef
from datalabs_contracts.streams import STORAGE_SCRATCH
from datalabs_contracts.volumes import (
    PreparedVolumes,
    PrepareVolumes,
    ReleaseVolumes,
    Volumes,
    VolumesQuery,
)
from datalabs_runtime.messaging import Call, Event, Messaging
from datalabs_storage.collections import Collections
from datalabs_storage.volumes import VolumeKeeper


def register(messaging: Messaging, *, volumes: VolumeKeeper, collections: Collections) -> None:
    """Serve storage's operations and consume the ends of labs."""

    async def prepare_volumes(request: PrepareVolumes, _: Call) -> PreparedVolumes:
        return await volumes.prepare(request)

    async def release_volumes(request: ReleaseVolumes, _: Call) -> Nothing:
        return await volumes.release(request)

    async def list_volumes(request: VolumesQuery, _: Call) -> Volumes:
        return await volumes.list(request)

    async def list_collections(request: PageQuery, _: Call) -> Page[Collection]:
        return await collections.list(request)

    async def get_collection(request: CollectionRef, _: Call) -> Collection:
        return await collections.get(request)

    async def lab_deleted(event: Event) -> None:
        lab = ReleaseVolumes(lab_id=event.entity_id)
        await volumes.release(lab, event_id=event.id, consumer=STORAGE_SCRATCH.name)

    messaging.serve(rpc.PREPARE_VOLUMES, prepare_volumes)
    messaging.serve(rpc.RELEASE_VOLUMES, release_volumes)
    messaging.serve(rpc.LIST_VOLUMES, list_volumes)
    messaging.serve(rpc.LIST_COLLECTIONS, list_collections)
    messaging.serve(rpc.GET_COLLECTION, get_collection)
    messaging.consume(STORAGE_SCRATCH, lab_deleted)

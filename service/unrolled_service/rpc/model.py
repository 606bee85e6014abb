"""ModelService: the bundles that are served."""

import grpc

from unrolled.v1 import model_pb2 as wire
from unrolled.v1.model_pb2_grpc import ModelServiceServicer
from unrolled_service.bridge.workers import Workers
from unrolled_service.models.bundle import Bundle
from unrolled_service.rpc.fields import read_model


class ModelService(ModelServiceServicer):
    """Describes the bundles, which are the same on every worker, as of this moment."""

    def __init__(self, workers: Workers) -> None:
        self._engine = next(iter(workers)).engine

    async def ListModels(self, _: wire.ListModelsRequest, __: grpc.aio.ServicerContext) -> wire.ListModelsResponse:
        """List all bundles."""
        return wire.ListModelsResponse(models=[_write(lane.bundle) for lane in self._engine.lanes.values()])

    async def GetModel(self, request: wire.GetModelRequest, _: grpc.aio.ServicerContext) -> wire.GetModelResponse:
        """Describe one bundle."""
        return wire.GetModelResponse(model=_write(self._engine.lane(read_model(request.model)).bundle))


def _write(bundle: Bundle) -> wire.Model:
    return wire.Model(sha256=bundle.sha256, manifest=bundle.manifest)

import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OutputKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_KIND_UNSPECIFIED: _ClassVar[OutputKind]
    OUTPUT_KIND_ALPHA: _ClassVar[OutputKind]
    OUTPUT_KIND_CUTOUT: _ClassVar[OutputKind]
    OUTPUT_KIND_COMPOSITE: _ClassVar[OutputKind]

class PixelFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PIXEL_FORMAT_UNSPECIFIED: _ClassVar[PixelFormat]
    PIXEL_FORMAT_GRAY8: _ClassVar[PixelFormat]
    PIXEL_FORMAT_RGB8: _ClassVar[PixelFormat]
    PIXEL_FORMAT_BGR8: _ClassVar[PixelFormat]
    PIXEL_FORMAT_RGBA8: _ClassVar[PixelFormat]
    PIXEL_FORMAT_GRAY16: _ClassVar[PixelFormat]
    PIXEL_FORMAT_RGB16: _ClassVar[PixelFormat]
    PIXEL_FORMAT_RGBA16: _ClassVar[PixelFormat]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_LOW: _ClassVar[Priority]
    PRIORITY_NORMAL: _ClassVar[Priority]
    PRIORITY_HIGH: _ClassVar[Priority]

class Refinement(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFINEMENT_UNSPECIFIED: _ClassVar[Refinement]
    REFINEMENT_NONE: _ClassVar[Refinement]
    REFINEMENT_GUIDED: _ClassVar[Refinement]
    REFINEMENT_MATTING: _ClassVar[Refinement]

class Decontamination(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECONTAMINATION_UNSPECIFIED: _ClassVar[Decontamination]
    DECONTAMINATION_NONE: _ClassVar[Decontamination]
    DECONTAMINATION_BLUR_FUSION: _ClassVar[Decontamination]

class BackgroundFit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BACKGROUND_FIT_UNSPECIFIED: _ClassVar[BackgroundFit]
    BACKGROUND_FIT_COVER: _ClassVar[BackgroundFit]
    BACKGROUND_FIT_CONTAIN: _ClassVar[BackgroundFit]
    BACKGROUND_FIT_STRETCH: _ClassVar[BackgroundFit]
OUTPUT_KIND_UNSPECIFIED: OutputKind
OUTPUT_KIND_ALPHA: OutputKind
OUTPUT_KIND_CUTOUT: OutputKind
OUTPUT_KIND_COMPOSITE: OutputKind
PIXEL_FORMAT_UNSPECIFIED: PixelFormat
PIXEL_FORMAT_GRAY8: PixelFormat
PIXEL_FORMAT_RGB8: PixelFormat
PIXEL_FORMAT_BGR8: PixelFormat
PIXEL_FORMAT_RGBA8: PixelFormat
PIXEL_FORMAT_GRAY16: PixelFormat
PIXEL_FORMAT_RGB16: PixelFormat
PIXEL_FORMAT_RGBA16: PixelFormat
PRIORITY_UNSPECIFIED: Priority
PRIORITY_LOW: Priority
PRIORITY_NORMAL: Priority
PRIORITY_HIGH: Priority
REFINEMENT_UNSPECIFIED: Refinement
REFINEMENT_NONE: Refinement
REFINEMENT_GUIDED: Refinement
REFINEMENT_MATTING: Refinement
DECONTAMINATION_UNSPECIFIED: Decontamination
DECONTAMINATION_NONE: Decontamination
DECONTAMINATION_BLUR_FUSION: Decontamination
BACKGROUND_FIT_UNSPECIFIED: BackgroundFit
BACKGROUND_FIT_COVER: BackgroundFit
BACKGROUND_FIT_CONTAIN: BackgroundFit
BACKGROUND_FIT_STRETCH: BackgroundFit

class RemoveBackgroundRequest(_message.Message):
    __slots__ = ("encoded", "pixels", "model", "outputs", "priority")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    encoded: EncodedImage
    pixels: PixelImage
    model: ModelRef
    outputs: _containers.RepeatedCompositeFieldContainer[OutputSpec]
    priority: Priority
    def __init__(self, encoded: _Optional[_Union[EncodedImage, _Mapping]] = ..., pixels: _Optional[_Union[PixelImage, _Mapping]] = ..., model: _Optional[_Union[ModelRef, _Mapping]] = ..., outputs: _Optional[_Iterable[_Union[OutputSpec, _Mapping]]] = ..., priority: _Optional[_Union[Priority, str]] = ...) -> None: ...

class RemoveBackgroundResponse(_message.Message):
    __slots__ = ("outputs", "model", "subject", "timings")
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    outputs: _containers.RepeatedCompositeFieldContainer[Output]
    model: ModelRef
    subject: Subject
    timings: Timings
    def __init__(self, outputs: _Optional[_Iterable[_Union[Output, _Mapping]]] = ..., model: _Optional[_Union[ModelRef, _Mapping]] = ..., subject: _Optional[_Union[Subject, _Mapping]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class StreamRemoveBackgroundRequest(_message.Message):
    __slots__ = ("item_id", "request", "cancel", "time_to_live")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_LIVE_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    request: RemoveBackgroundRequest
    cancel: CancelItem
    time_to_live: _duration_pb2.Duration
    def __init__(self, item_id: _Optional[str] = ..., request: _Optional[_Union[RemoveBackgroundRequest, _Mapping]] = ..., cancel: _Optional[_Union[CancelItem, _Mapping]] = ..., time_to_live: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StreamRemoveBackgroundResponse(_message.Message):
    __slots__ = ("item_id", "response", "error")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    response: RemoveBackgroundResponse
    error: _status_pb2.Status
    def __init__(self, item_id: _Optional[str] = ..., response: _Optional[_Union[RemoveBackgroundResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetDataPolicyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetDataPolicyResponse(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: DataPolicy
    def __init__(self, policy: _Optional[_Union[DataPolicy, _Mapping]] = ...) -> None: ...

class EncodedImage(_message.Message):
    __slots__ = ("content", "mime_type")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    mime_type: str
    def __init__(self, content: _Optional[bytes] = ..., mime_type: _Optional[str] = ...) -> None: ...

class PixelImage(_message.Message):
    __slots__ = ("data", "width_px", "height_px", "pixel_format")
    DATA_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    width_px: int
    height_px: int
    pixel_format: PixelFormat
    def __init__(self, data: _Optional[bytes] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., pixel_format: _Optional[_Union[PixelFormat, str]] = ...) -> None: ...

class ModelRef(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class OutputSpec(_message.Message):
    __slots__ = ("kind", "encoded", "raw", "refinement", "decontamination", "color", "image", "crop", "max_side_px", "model_grid")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    REFINEMENT_FIELD_NUMBER: _ClassVar[int]
    DECONTAMINATION_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    MAX_SIDE_PX_FIELD_NUMBER: _ClassVar[int]
    MODEL_GRID_FIELD_NUMBER: _ClassVar[int]
    kind: OutputKind
    encoded: ImageEncoding
    raw: RawEncoding
    refinement: Refinement
    decontamination: Decontamination
    color: Color
    image: BackgroundImage
    crop: Crop
    max_side_px: int
    model_grid: bool
    def __init__(self, kind: _Optional[_Union[OutputKind, str]] = ..., encoded: _Optional[_Union[ImageEncoding, _Mapping]] = ..., raw: _Optional[_Union[RawEncoding, _Mapping]] = ..., refinement: _Optional[_Union[Refinement, str]] = ..., decontamination: _Optional[_Union[Decontamination, str]] = ..., color: _Optional[_Union[Color, _Mapping]] = ..., image: _Optional[_Union[BackgroundImage, _Mapping]] = ..., crop: _Optional[_Union[Crop, _Mapping]] = ..., max_side_px: _Optional[int] = ..., model_grid: _Optional[bool] = ...) -> None: ...

class ImageEncoding(_message.Message):
    __slots__ = ("mime_type", "quality", "lossless")
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    LOSSLESS_FIELD_NUMBER: _ClassVar[int]
    mime_type: str
    quality: int
    lossless: bool
    def __init__(self, mime_type: _Optional[str] = ..., quality: _Optional[int] = ..., lossless: _Optional[bool] = ...) -> None: ...

class RawEncoding(_message.Message):
    __slots__ = ("pixel_format",)
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    pixel_format: PixelFormat
    def __init__(self, pixel_format: _Optional[_Union[PixelFormat, str]] = ...) -> None: ...

class Color(_message.Message):
    __slots__ = ("red", "green", "blue")
    RED_FIELD_NUMBER: _ClassVar[int]
    GREEN_FIELD_NUMBER: _ClassVar[int]
    BLUE_FIELD_NUMBER: _ClassVar[int]
    red: int
    green: int
    blue: int
    def __init__(self, red: _Optional[int] = ..., green: _Optional[int] = ..., blue: _Optional[int] = ...) -> None: ...

class BackgroundImage(_message.Message):
    __slots__ = ("encoded", "fit", "linear_light")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    FIT_FIELD_NUMBER: _ClassVar[int]
    LINEAR_LIGHT_FIELD_NUMBER: _ClassVar[int]
    encoded: EncodedImage
    fit: BackgroundFit
    linear_light: bool
    def __init__(self, encoded: _Optional[_Union[EncodedImage, _Mapping]] = ..., fit: _Optional[_Union[BackgroundFit, str]] = ..., linear_light: _Optional[bool] = ...) -> None: ...

class Crop(_message.Message):
    __slots__ = ("margin_share",)
    MARGIN_SHARE_FIELD_NUMBER: _ClassVar[int]
    margin_share: float
    def __init__(self, margin_share: _Optional[float] = ...) -> None: ...

class CancelItem(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Output(_message.Message):
    __slots__ = ("encoded", "pixels", "width_px", "height_px", "refinement_applied")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    REFINEMENT_APPLIED_FIELD_NUMBER: _ClassVar[int]
    encoded: EncodedImage
    pixels: PixelImage
    width_px: int
    height_px: int
    refinement_applied: Refinement
    def __init__(self, encoded: _Optional[_Union[EncodedImage, _Mapping]] = ..., pixels: _Optional[_Union[PixelImage, _Mapping]] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., refinement_applied: _Optional[_Union[Refinement, str]] = ...) -> None: ...

class Subject(_message.Message):
    __slots__ = ("found", "box", "area_share")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    AREA_SHARE_FIELD_NUMBER: _ClassVar[int]
    found: bool
    box: Box
    area_share: float
    def __init__(self, found: _Optional[bool] = ..., box: _Optional[_Union[Box, _Mapping]] = ..., area_share: _Optional[float] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("left_px", "top_px", "width_px", "height_px")
    LEFT_PX_FIELD_NUMBER: _ClassVar[int]
    TOP_PX_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    left_px: int
    top_px: int
    width_px: int
    height_px: int
    def __init__(self, left_px: _Optional[int] = ..., top_px: _Optional[int] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("queue_duration", "inference_duration", "total_duration")
    QUEUE_DURATION_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_DURATION_FIELD_NUMBER: _ClassVar[int]
    TOTAL_DURATION_FIELD_NUMBER: _ClassVar[int]
    queue_duration: _duration_pb2.Duration
    inference_duration: _duration_pb2.Duration
    total_duration: _duration_pb2.Duration
    def __init__(self, queue_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., inference_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "versions", "default", "max_batch_size", "input_width_px", "input_height_px", "license", "noncommercial", "instances")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    INPUT_WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    INPUT_HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    LICENSE_FIELD_NUMBER: _ClassVar[int]
    NONCOMMERCIAL_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    name: str
    versions: _containers.RepeatedScalarFieldContainer[str]
    default: bool
    max_batch_size: int
    input_width_px: int
    input_height_px: int
    license: str
    noncommercial: bool
    instances: _containers.RepeatedCompositeFieldContainer[ModelInstance]
    def __init__(self, name: _Optional[str] = ..., versions: _Optional[_Iterable[str]] = ..., default: _Optional[bool] = ..., max_batch_size: _Optional[int] = ..., input_width_px: _Optional[int] = ..., input_height_px: _Optional[int] = ..., license: _Optional[str] = ..., noncommercial: _Optional[bool] = ..., instances: _Optional[_Iterable[_Union[ModelInstance, _Mapping]]] = ...) -> None: ...

class ModelInstance(_message.Message):
    __slots__ = ("backend", "device", "engine", "precision", "instance_count")
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    backend: str
    device: str
    engine: str
    precision: str
    instance_count: int
    def __init__(self, backend: _Optional[str] = ..., device: _Optional[str] = ..., engine: _Optional[str] = ..., precision: _Optional[str] = ..., instance_count: _Optional[int] = ...) -> None: ...

class DataPolicy(_message.Message):
    __slots__ = ("version", "revision", "retention_ceiling", "statements")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RETENTION_CEILING_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    version: str
    revision: str
    retention_ceiling: _duration_pb2.Duration
    statements: _containers.RepeatedCompositeFieldContainer[DataPolicyStatement]
    def __init__(self, version: _Optional[str] = ..., revision: _Optional[str] = ..., retention_ceiling: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., statements: _Optional[_Iterable[_Union[DataPolicyStatement, _Mapping]]] = ...) -> None: ...

class DataPolicyStatement(_message.Message):
    __slots__ = ("topic", "statement", "kept", "values")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    topic: str
    statement: str
    kept: bool
    values: _containers.ScalarMap[str, str]
    def __init__(self, topic: _Optional[str] = ..., statement: _Optional[str] = ..., kept: _Optional[bool] = ..., values: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DataReceipt(_message.Message):
    __slots__ = ("call_id", "held_duration", "released")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    HELD_DURATION_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    held_duration: _duration_pb2.Duration
    released: bool
    def __init__(self, call_id: _Optional[str] = ..., held_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., released: _Optional[bool] = ...) -> None: ...

from .async_client import AsyncClient as AsyncClient
from .client import Client as Client
from .request_log import RequestLog as RequestLog
from .signatures import ModelMetadata as ModelMetadata
from .stream import LiveForecast as LiveForecast

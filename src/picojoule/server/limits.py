"""What a client may cost the server."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Sizes in bytes, times in seconds.

    Args:
        upload: a network file.
        body: any other request.
        parse_time: to read an uploaded network.
        answer_time: to check a machine, to price anew, to make a page or a report.
        process_memory: address space of a process that reads or searches.
        searches: processes that search at once.
        readers: processes that read, check and re-price at once.
        pages: processes that make pages at once.
        uploads, uploads_each: networks received and read at once, of all clients and of one.
        queue, queue_each: jobs that wait at once, of all clients and of one.
        job_time: one job, from its start.
        streams, streams_each: jobs that are followed at once, by all clients and by one.
        layers: of one network.
        results, networks: kept; the longest unused go first.
    """

    upload: int = 512 * MIB
    body: int = 1 * MIB
    parse_time: float = 120.0
    answer_time: float = 20.0
    process_memory: int = 8 * 1024 * MIB
    searches: int = 1
    readers: int = 2
    pages: int = 2
    uploads: int = 128
    uploads_each: int = 64
    queue: int = 200
    queue_each: int = 100
    job_time: float = 1800.0
    streams: int = 256
    streams_each: int = 128
    layers: int = 2000
    results: int = 10_000
    networks: int = 1_000

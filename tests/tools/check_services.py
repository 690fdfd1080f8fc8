"""Say whether PostgreSQL and Redis answer at the two given addresses: exit status 0 or 1."""

import sys

import psycopg
import redis


def main(database_url: str, broker_url: str) -> int:
    try:
        psycopg.connect(database_url, connect_timeout=3).close()
        redis.Redis.from_url(broker_url, socket_connect_timeout=3).ping()
    except (psycopg.OperationalError, redis.ConnectionError) as error:
        print(f"Not reachable: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

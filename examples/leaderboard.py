"""A leaderboard: players and their points in one sorted set, through redis-py, that outlives kill -9 of the server.

    python examples/leaderboard.py [PLAYERS]   starts `flin serve` in a temporary directory; 2,000 players

Points come in pipelines, as a game would send them. The best ten, a player's rank and the players around him are one
command each, however many players there are. The points of a season are added up from its weeks by ZUNIONSTORE.
"""

from __future__ import annotations

import argparse
import random
import tempfile

import redis
from flin_server import FlinServer

WEEKS = ("week:1", "week:2")
PIPELINE = 500


def play(client: redis.Redis, week: str, points: dict[str, int]) -> None:
    """Every player's points of a week, in games of up to 100 points."""
    games = [(player, game) for player, total in points.items() for game in in_games(total)]
    random.Random(week).shuffle(games)
    for start in range(0, len(games), PIPELINE):
        pipeline = client.pipeline(transaction=False)
        for player, game in games[start : start + PIPELINE]:
            pipeline.zincrby(week, game, player)
        pipeline.execute()


def in_games(total: int) -> list[int]:
    return [100] * (total // 100) + [total % 100]


class Leaderboard:
    def __init__(self, client: redis.Redis, key: str) -> None:
        self.client = client
        self.key = key

    def best(self, count: int) -> list[tuple[str, int]]:
        found = self.client.zrevrange(self.key, 0, count - 1, withscores=True)
        return [(player.decode(), int(points)) for player, points in found]

    def rank(self, player: str) -> int:
        """1 is the best."""
        rank = self.client.zrevrank(self.key, player)
        assert rank is not None
        return int(rank) + 1

    def around(self, player: str, each_side: int) -> list[str]:
        rank = self.rank(player) - 1
        found = self.client.zrevrange(self.key, max(0, rank - each_side), rank + each_side)
        return [other.decode() for other in found]

    def leave(self, player: str) -> None:
        self.client.zrem(self.key, player)


def expected_order(points: dict[str, int]) -> list[str]:
    """Most points first; of players with the same points the one whose name comes last, as Redis has it."""
    return sorted(points, key=lambda player: (points[player], player.encode()), reverse=True)


def show(server: FlinServer, players: int) -> None:
    chance = random.Random(2026)
    names = [f"player-{number:05d}" for number in range(players)]
    weeks = {week: {name: chance.randrange(1, 1000) for name in names} for week in WEEKS}
    season = {name: sum(points[name] for points in weeks.values()) for name in names}
    with server.client() as client:
        for week, points in weeks.items():
            play(client, week, points)
        client.zunionstore("season", WEEKS)
    server.kill()
    server.start()
    with server.client() as client:
        board, order = Leaderboard(client, "season"), expected_order(season)
        print(f"{client.zcard('season')} players after kill -9")
        best = board.best(10)
        assert best == [(player, season[player]) for player in order[:10]]
        print(f"the best: {best[0][0]} with {best[0][1]} points")
        middle = order[players // 2]
        assert board.rank(middle) == players // 2 + 1
        assert board.around(middle, 2) == order[players // 2 - 2 : players // 2 + 3]
        print(f"{middle} is number {board.rank(middle)}, between {' and '.join(board.around(middle, 1)[::2])}")
        assert all(board.rank(player) == order.index(player) + 1 for player in chance.sample(names, 50))
        board.leave(order[0])
        assert board.rank(order[1]) == 1
        many = client.zcount("season", 1000, "+inf")
        assert many == sum(points >= 1000 for points in season.values()) - (season[order[0]] >= 1000)
        print(f"{many} players have 1000 points or more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("players", type=int, nargs="?", default=2000)
    players = parser.parse_args().players
    with tempfile.TemporaryDirectory(prefix="flin-example-") as directory:
        server = FlinServer(directory)
        server.start()
        try:
            show(server, players)
            server.stop()
        finally:
            server.kill()


if __name__ == "__main__":
    main()

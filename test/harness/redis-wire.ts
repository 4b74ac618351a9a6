import { connect } from "node:net";

/**
 * Sends one inline command to a Redis server and returns the first line of its answer (`+PONG`, `:3`).
 * The tests' own probe and clean-up: it needs no client library. Throws where nothing answers within 2 s.
 */
export async function askRedis(url: string, command: string): Promise<string> {
  const { hostname, port, password, username } = new URL(url);
  const login =
    password === "" ? "" : `AUTH ${[username, password].filter(Boolean).map(decodeURIComponent).join(" ")}\r\n`;
  const wanted = login === "" ? 1 : 2;
  const socket = connect({ host: hostname, port: Number(port || 6379) });
  socket.setTimeout(2_000, () =>
    socket.destroy(new Error(`Redis at ${hostname}:${port || 6379} did not answer in 2 s`)),
  );
  socket.write(`${login}${command}\r\n`);
  let text = "";
  try {
    for await (const chunk of socket.setEncoding("utf8")) {
      text += chunk;
      const lines = text.split("\r\n");
      if (lines.length <= wanted) continue;
      const answer = lines[wanted - 1] ?? "";
      if (answer.startsWith("-"))
        throw new Error(`Redis at ${hostname} refused ${command.split(" ")[0]}: ${answer.slice(1)}`);
      return answer;
    }
  } finally {
    socket.destroy();
  }
  throw new Error(`Redis at ${hostname} closed the connection without an answer`);
}

/** Deletes every key below a prefix of this project's tests. */
export async function deleteRedisKeys(url: string, prefix: string): Promise<void> {
  const script =
    "local c='0' repeat local r=redis.call('SCAN',c,'MATCH',ARGV[1],'COUNT',1000) c=r[1] " +
    "for _,k in ipairs(r[2]) do redis.call('DEL',k) end until c=='0' return 1";
  await askRedis(url, `EVAL "${script}" 0 ${prefix}*`);
}

"use strict";
// The dashboard: asks /stats each second and draws it. Whatever comes from a key or a client is shown by textContent.

const POINTS = 120;
const EVERY_MS = 1000;
const PATIENCE_MS = 5000; // then the server counts as silent
const UNIT_SECONDS = 256e-9; // of the histogram of ticks (flin/net/run/histogram.py)
const $ = (id) => document.getElementById(id);

// Numbers for people.

function count(value) {
  if (value === null || Number.isNaN(value)) return "–";
  if (value >= 1e9) return (value / 1e9).toFixed(2) + " G";
  if (value >= 1e6) return (value / 1e6).toFixed(2) + " M";
  if (value >= 1e4) return (value / 1e3).toFixed(1) + " k";
  return value >= 10 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

function bytes(value) {
  if (value === null || Number.isNaN(value)) return "–";
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return (value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)) + " " + unit;
    value /= 1024;
  }
  return value.toFixed(2) + " TiB";
}

function seconds(value) {
  if (value === null) return "–";
  if (value < 1e-3) return (value * 1e6).toFixed(0) + " µs";
  if (value < 1) return (value * 1e3).toFixed(value < 0.01 ? 2 : 1) + " ms";
  return value.toFixed(2) + " s";
}

function age(value) {
  const days = Math.floor(value / 86400), hours = Math.floor((value % 86400) / 3600), minutes = Math.floor((value % 3600) / 60);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min` : `${Math.floor(value)} s`;
}

const percent = (value) => (value === null ? "–" : value.toFixed(value < 10 ? 1 : 0) + " %");

// What cannot be seen, or would turn the text around, as its number.
function shown(text) {
  return String(text).replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (one) => "\\u" + one.charCodeAt(0).toString(16).padStart(4, "0"));
}

// What is computed of the figures. `groups` are those that answer and are looked at; `was` is what they were before.

const at = (figures, path) => path.split(".").reduce((found, name) => (found == null ? undefined : found[name]), figures);
const sum = (groups, path) => groups.reduce((all, each) => all + Number(at(each, path) ?? 0), 0);

function rate(now, path) { // per second; null before there are two samples, or if the counter began anew
  if (!now.was) return null;
  const change = sum(now.groups, path) - sum(now.was.groups, path);
  return change < 0 ? null : change / now.elapsed;
}

function rates(now, ...paths) {
  const all = paths.map((path) => rate(now, path));
  return all.includes(null) ? null : all.reduce((one, other) => one + other);
}

function endOf(bucket) {
  return UNIT_SECONDS * (bucket < 8 ? bucket + 1 : (5 + bucket % 4) * 2 ** (Math.floor(bucket / 4) - 1));
}

function tickQuantile(now, share) {
  if (!now.was) return null;
  const counts = (samples) => samples.groups.map((each) => at(each, "server.ticks.counts") ?? []);
  const after = counts(now), before = counts(now.was);
  const width = Math.max(0, ...after.map((each) => each.length)), changes = [];
  for (let bucket = 0; bucket < width; bucket++) {
    const of = (all) => all.reduce((total, each) => total + (each[bucket] ?? 0), 0);
    changes.push(Math.max(0, of(after) - of(before)));
  }
  let left = changes.reduce((one, other) => one + other, 0) * share;
  if (!left) return null;
  const bucket = changes.findIndex((change) => (left -= change) <= 1e-9);
  return endOf(bucket < 0 ? width - 1 : bucket);
}

function hitShare(now) {
  const hits = rate(now, "server.keyspace.hits"), misses = rate(now, "server.keyspace.misses");
  return hits === null || misses === null || hits + misses === 0 ? null : (100 * hits) / (hits + misses);
}

// The charts: a title, what the first line says in large, the rest beside it. max: the least height of the scale.

const CHARTS = [
  { title: "Commands/s", show: count, lines: [(now) => rate(now, "server.commands.processed")],
    aside: (now) => `${count(sum(now.groups, "server.commands.processed"))} since the start` },
  { title: "Latency of a tick", show: seconds, names: ["p99", "p50"],
    lines: [(now) => tickQuantile(now, 0.99), (now) => tickQuantile(now, 0.5)] },
  { title: "Processor", show: percent, max: 100,
    lines: [(now) => { const used = rates(now, "server.cpu.user_seconds", "server.cpu.system_seconds"); return used === null ? null : 100 * used; }],
    aside: () => "of a core, helpers apart" },
  { title: "Memory", show: bytes, names: ["resident", "limit"],
    lines: [(now) => sum(now.groups, "server.memory.resident_bytes"), (now) => sum(now.groups, "server.memory.limit_bytes")] },
  { title: "Network", show: (value) => bytes(value) + "/s", names: ["in", "out"],
    lines: [(now) => rate(now, "server.commands.input_bytes"), (now) => rate(now, "server.commands.output_bytes")] },
  { title: "Written to the disk", show: (value) => bytes(value) + "/s", names: ["log", "tables"],
    lines: [(now) => rate(now, "engine.wal.position"), (now) => rates(now, "engine.flush.bytes_written", "engine.compaction.bytes_written")] },
  { title: "Lookups that hit", show: percent, max: 100, lines: [hitShare],
    aside: (now) => `${count(rates(now, "server.keyspace.hits", "server.keyspace.misses"))} lookups/s, ${count(rate(now, "server.keyspace.cold_reads"))} from disk` },
  { title: "Clients", show: count, names: ["connected", "blocked"], max: 4,
    lines: [(now) => sum(now.groups, "server.clients.connected"), (now) => sum(now.groups, "server.clients.blocked")] },
];

const SVG = "http://www.w3.org/2000/svg";

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function shape(name, className) {
  const made = document.createElementNS(SVG, name);
  made.setAttribute("class", className);
  return made;
}

function makeChart(chart) {
  const card = element("article");
  chart.value = element("div", "value", "–");
  chart.beside = element("div", "aside");
  chart.svg = shape("svg", "");
  chart.svg.setAttribute("viewBox", `0 0 ${POINTS - 1} 100`);
  chart.svg.setAttribute("preserveAspectRatio", "none");
  chart.svg.setAttribute("role", "img");
  chart.svg.setAttribute("aria-label", chart.title);
  const floor = shape("line", "floor");
  for (const [name, value] of [["x1", 0], ["x2", POINTS - 1], ["y1", 100], ["y2", 100]]) floor.setAttribute(name, value);
  chart.svg.append(floor);
  chart.drawn = chart.lines.map((_, index) => {
    const kind = index ? "two" : "one";
    const area = index ? null : shape("polygon", kind), line = shape("polyline", kind);
    chart.svg.append(...(area ? [area, line] : [line]));
    return { area, line };
  });
  chart.cursor = shape("line", "cursor");
  chart.cursor.setAttribute("visibility", "hidden");
  chart.svg.append(chart.cursor);
  chart.history = [];
  chart.svg.addEventListener("pointermove", (event) => {
    const box = chart.svg.getBoundingClientRect();
    chart.pointed = Math.round(((event.clientX - box.left) / box.width) * (POINTS - 1));
    draw(chart);
  });
  chart.svg.addEventListener("pointerleave", () => { chart.pointed = undefined; draw(chart); });
  card.append(element("h2", "", chart.title), chart.value, chart.beside, chart.svg);
  return card;
}

function draw(chart) {
  const history = chart.history, first = POINTS - history.length;
  const highest = Math.max(chart.max ?? 0, ...history.flatMap((point) => point.values.map((value) => value ?? 0))) || 1;
  chart.drawn.forEach(({ area, line }, index) => {
    const points = history.flatMap((point, place) =>
      point.values[index] === null ? [] : [`${first + place},${(100 - (96 * point.values[index]) / highest).toFixed(2)}`]);
    line.setAttribute("points", points.join(" "));
    if (area) {
      const ends = points.length ? [`${points[0].split(",")[0]},100`, ...points, `${points[points.length - 1].split(",")[0]},100`] : [];
      area.setAttribute("points", ends.join(" "));
    }
  });
  const place = chart.pointed === undefined ? history.length - 1 : Math.min(Math.max(chart.pointed - first, 0), history.length - 1);
  const point = history[place];
  if (!point) return;
  const isPointed = chart.pointed !== undefined;
  for (const [name, value] of [["x1", first + place], ["x2", first + place], ["y1", 0], ["y2", 100]]) chart.cursor.setAttribute(name, value);
  chart.cursor.setAttribute("visibility", isPointed ? "visible" : "hidden");
  chart.value.textContent = chart.show(point.values[0]);
  const beside = chart.names
    ? chart.names.map((name, index) => element("span", index ? "key two" : "key", index ? `${name} ${chart.show(point.values[index])}` : name))
    : [element("span", "", point.aside ?? "")];
  if (isPointed) beside.push(element("span", "", ` ${history.length - 1 - place} s ago`));
  chart.beside.replaceChildren(...beside);
}

// The tables. A column: title, the cell's text, and whether it is a number or somebody's word.

function fill(table, columns, rows, nothing) {
  const head = element("tr");
  head.append(...columns.map(([title, , kind]) => element("th", kind, title)));
  const lines = rows.map((row) => {
    const line = element("tr");
    line.append(...columns.map(([, text, kind]) => {
      const full = shown(text(row)), cell = element("td", kind, full.length > 200 ? full.slice(0, 200) + "…" : full);
      if (kind === "word") cell.title = full;
      return cell;
    }));
    return line;
  });
  if (!rows.length) {
    const line = element("tr"), cell = element("td", "nothing", nothing);
    cell.colSpan = columns.length;
    line.append(cell);
    lines.push(line);
  }
  $(table).replaceChildren(head, ...lines);
}

function commandsOf(now) {
  const all = new Map();
  const add = (groups, sign) => groups.forEach((each) => Object.entries(at(each, "server.commands.by_name") ?? {}).forEach(([name, command]) => {
    const found = all.get(name) ?? { name, calls: 0, timed: 0, nanoseconds: 0, failed: 0 };
    found.calls += sign * command.calls;
    found.timed += sign * command.timed_calls;
    found.nanoseconds += sign * command.timed_nanoseconds;
    found.failed += sign * (command.failed + command.rejected);
    all.set(name, found);
  }));
  add(now.groups, 1);
  if (now.long) add(now.long.groups, -1);
  const elapsed = now.long ? (now.at - now.long.at) / 1000 : null;
  return [...all.values()].filter((each) => each.calls > 0 || each.failed > 0)
    .map((each) => ({ ...each, elapsed, mean: each.timed > 0 ? each.nanoseconds / each.timed : null }))
    .sort((one, other) => (other.mean ?? 0) * other.calls - (one.mean ?? 0) * one.calls).slice(0, 12);
}

function storageOf(now) {
  const of = (path) => sum(now.groups, path), most = (path) => Math.max(0, ...now.groups.map((each) => at(each, path) ?? 0));
  const free = now.groups.map((each) => at(each, "engine.disk.free_bytes")).filter((each) => each !== undefined);
  const keys = now.groups.reduce((all, each) => all + Object.values(at(each, "server.keyspace.keys") ?? {}).reduce((one, other) => one + other, 0), 0);
  return [
    ["Keys", count(keys), ""],
    ["Disk free", free.length ? bytes(Math.min(...free)) : "–", `of ${bytes(most("disk_total_bytes"))}`],
    ["Tables", bytes(of("engine.tables.bytes")), `${count(of("engine.tables.tables"))} tables, ${most("engine.tables.runs")} runs at most`],
    ["Value files", bytes(of("engine.value_files.bytes")), `${bytes(of("engine.value_files.live_bytes"))} of it live`],
    ["Write-ahead log", bytes(of("engine.disk.wal_bytes")), `${bytes(of("engine.wal.position") - of("engine.wal.synced_position"))} not synced`],
    ["Memtables", bytes(of("engine.memtables.open_bytes")), `${count(of("engine.memtables.sealed_generations"))} generations wait for their flush`],
    ["Block cache", bytes(of("engine.block_cache.used_bytes")), `of ${bytes(of("engine.block_cache.capacity_bytes"))}`],
    ["Flushes", count(of("engine.flush.jobs")), bytes(of("engine.flush.bytes_written"))],
    ["Compactions", count(of("engine.compaction.jobs")), `${bytes(of("engine.compaction.bytes_written"))}, ${count(of("engine.background.failures"))} jobs failed`],
    ["Write amplification", most("engine.background.write_amplification").toFixed(2), "bytes written to tables per byte"],
  ];
}

function tables(now) {
  const labelled = now.all.length > 1;
  const group = labelled ? [["group", (row) => row.group, "number"]] : [];
  const collect = (path) => now.groups.flatMap((each) => (at(each, path) ?? []).map((row) => ({ ...row, group: each.group })));
  fill("commands", [
    ["command", (row) => row.name, "word"],
    ["per s", (row) => (row.elapsed ? count(row.calls / row.elapsed) : "–"), "number"],
    ["each", (row) => (row.mean === null ? "–" : seconds(row.mean / 1e9)), "number"],
    ["errors per s", (row) => (row.elapsed ? count(row.failed / row.elapsed) : "–"), "number"],
  ], commandsOf(now), "none in the last seconds");
  fill("slow", [
    ...group,
    ["at", (row) => new Date(row.at_seconds * 1000).toLocaleTimeString(), ""],
    ["took", (row) => seconds(row.microseconds / 1e6), "number"],
    ["command", (row) => row.arguments.join(" "), "word"],
    ["client", (row) => row.name || row.address, "word"],
  ], collect("server.slowlog").sort((one, other) => other.at_seconds - one.at_seconds || other.id - one.id).slice(0, 20), "none");
  fill("clients", [
    ...group,
    ["address", (row) => row.addr, "word"],
    ["name", (row) => row.name, "word"],
    ["last", (row) => row.cmd, "word"],
    ["idle", (row) => age(Number(row.idle)), "number"],
    ["sends", (row) => bytes(Number(row.qbuf)), "number"],
    ["unread", (row) => bytes(Number(row.omem)), "number"],
  ], collect("server.clients.list").sort((one, other) => Number(other.omem) + Number(other.qbuf) - Number(one.omem) - Number(one.qbuf)).slice(0, 20), "nobody is connected");
  const replicas = now.groups.filter((each) => each.server.replica?.role).map((each) => ({ ...each.server.replica, group: each.group }));
  $("nodes").hidden = !replicas.length;
  fill("replicas", [
    ["group", (row) => row.group, "number"],
    ["role", (row) => (row.role === "leader" && !row.has_lease ? "leader without a lease" : row.role), "word"],
    ["epoch", (row) => count(row.epoch), "number"],
    ["entry", (row) => count(row.index), "number"],
    ["behind", (row) => (row.role === "leader" ? "–" : seconds(row.lag_ms / 1000)), "number"],
    ["clock", (row) => seconds(Math.abs(row.skew_ms) / 1000), "number"],
    ["nodes that vote", (row) => count(row.voting_nodes), "number"],
  ], replicas, "");
  fill("storage", [["", (row) => row[0], ""], ["", (row) => row[1], "number"], ["", (row) => row[2], ""]], storageOf(now), "");
}

// What is wrong, first.

function found(now, textsOf) { // what all groups say is said once
  const groups = new Map();
  for (const [group, figures] of now.all) for (const text of textsOf(figures)) groups.set(text, [...(groups.get(text) ?? []), group]);
  return [...groups].map(([text, some]) => (some.length === now.all.length ? text : `group ${some.join(", ")}: ${text}`));
}

function head(now) {
  const labelled = now.all.length > 1;
  const bad = found(now, (figures) => [...(figures.error ? [figures.error] : []), ...(figures.reasons ?? []).map((each) => each.text)]);
  const warn = found(now, (figures) => (figures.warnings ?? []).map((each) => each.text));
  findings(bad, warn);
  const [word, kind] = bad.length ? ["NOT READY", "bad"] : warn.length ? ["LOOK AT THIS", "warn"] : ["READY", "good"];
  state(word, kind);
  const first = now.groups[0]?.server;
  $("facts").textContent = first
    ? shown(`${first.version} · ${first.directory}${labelled ? "" : ` · port ${first.port}`} · sync ${first.sync} · up ${age(Math.min(...now.groups.map((each) => each.server.uptime_seconds)))}`)
    : "";
  $("groups").hidden = !labelled;
  if (labelled) {
    $("groups").replaceChildren(...["all", ...now.all.map(([group]) => group)].map((group) => {
      const isBad = group !== "all" && (now.answer[group].error || now.answer[group].reasons.length);
      const button = element("button", isBad ? "bad" : "", group === "all" ? "all" : `group ${group}`);
      button.setAttribute("aria-pressed", String(group === chosen));
      button.addEventListener("click", () => choose(group));
      return button;
    }));
  }
}

function state(word, kind) {
  $("state").textContent = word;
  $("state").className = "pill " + kind;
  document.title = kind === "good" ? "flin" : `${word} · flin`;
}

function findings(bad, warn) {
  const lines = [...bad.map((text) => [text, "bad"]), ...warn.map((text) => [text, "warn"])];
  const before = [...$("findings").children].map((each) => each.textContent).join("\n");
  if (before !== lines.map(([text]) => shown(text)).join("\n")) {
    $("findings").replaceChildren(...lines.map(([text, kind]) => element("p", kind, shown(text))));
  }
}

// Asking.

let chosen = "all";
let samples = []; // the newest last; as many as the table of commands looks back
const LOOKS_BACK = 10;

function choose(group) {
  chosen = group;
  samples = [];
  CHARTS.forEach((chart) => { chart.history = []; });
}

function take(answer) {
  const all = Object.entries(answer);
  const now = {
    at: performance.now(), answer, all,
    groups: all.filter(([group, each]) => !each.error && (chosen === "all" || group === chosen)).map(([group, each]) => ({ ...each, group })),
  };
  const last = samples[samples.length - 1];
  const isSame = last && last.groups.length === now.groups.length && now.groups.every((each, index) => each.server.pid === last.groups[index].server.pid);
  if (isSame) {
    now.was = last;
    now.long = samples[0];
    now.elapsed = (now.at - last.at) / 1000;
  } else {
    samples = [];
  }
  head(now);
  for (const chart of CHARTS) {
    chart.history.push({ values: chart.lines.map((line) => line(now)), aside: chart.aside?.(now) });
    chart.history = chart.history.slice(-POINTS);
    draw(chart);
  }
  tables(now);
  const { was, long, ...kept } = now; // else each sample would hold all before it
  samples = [...samples, kept].slice(-LOOKS_BACK);
}

let answeredAt = performance.now();

async function ask() {
  if (!document.hidden) {
    try {
      const response = await fetch("stats", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!response.ok) throw new Error(`/stats: ${response.status}`);
      take((await response.json()).groups);
      answeredAt = performance.now();
    } catch (error) {
      const silent = Math.round((performance.now() - answeredAt) / 1000);
      state("NO ANSWER", "bad");
      findings([`The server has not answered for ${silent} s: it has ended, it hangs, or the way to it is cut. (${error.message})`], []);
    }
  }
  setTimeout(ask, EVERY_MS);
}

$("charts").append(...CHARTS.map(makeChart));
ask();

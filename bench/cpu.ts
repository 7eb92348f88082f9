// SPDX-License-Identifier: Apache-2.0
// Measures the idle CPU use of an engine with two ports, and how much later it receives the first packet after a
// pause than an engine that polls continuously, on veth pairs in a network namespace.
import { execFileSync } from 'node:child_process';
import { exact, figure, median, row } from './shared/figure.js';
import { nativeBench } from './shared/programs.js';
import { optionsOf, report } from './shared/result.js';

const turns = 5;
const mostIdlePercent = 2;
const mostLaterUs = 100;
const { json } = optionsOf({});
const program = nativeBench('cpu');
const namespace = `psp-bench-${process.pid}`;
const ip = (...args: string[]) => execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] });

interface Line {
  idlePercent: number;
  us: number[];
}

function run(polling: string): Line {
  const args = ['netns', 'exec', namespace, program, polling, 'unsecured', 'secured', 'host', 'wire'];
  return JSON.parse(
    execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim(),
  ) as Line;
}

try {
  ip('netns', 'add', namespace);
  for (const [near, far] of [
    ['unsecured', 'host'],
    ['secured', 'wire'],
  ] as const) {
    ip('-n', namespace, 'link', 'add', near, 'type', 'veth', 'peer', 'name', far);
    for (const name of [near, far]) {
      ip('netns', 'exec', namespace, 'sysctl', '-q', `net.ipv6.conf.${name}.disable_ipv6=1`);
      ip('-n', namespace, 'link', 'set', name, 'mtu', '1600', 'up');
    }
  }
  const [busy, adaptive]: [Line[], Line[]] = [[], []];
  for (let turn = 0; turn < turns; turn++) {
    busy.push(run('busy'));
    adaptive.push(run('adaptive'));
  }
  const idle = figure(adaptive.map(({ idlePercent }) => idlePercent));
  const late = figure(adaptive.map(({ us }) => median(us)));
  const prompt = figure(busy.map(({ us }) => median(us)));
  const bound = {
    ...prompt,
    median: prompt.median + mostLaterUs,
    noisePercent: Number(((prompt.noisePercent * prompt.median) / (prompt.median + mostLaterUs)).toFixed(1)),
  };
  report(
    {
      bench: 'cpu',
      unit: 'percent of a core, or microseconds',
      against: 'the bound, or an engine that polls without rest',
      rows: [
        row({ what: 'idle with two ports, % of a core' }, idle, exact(mostIdlePercent), {
          costs: true,
          reach: 1,
        }),
        row({ what: 'first packet after 10 ms, us, against the bound' }, late, bound, {
          costs: true,
          reach: 1,
        }),
        row({ what: 'first packet after 10 ms, us, against one that never rests' }, late, prompt, {
          costs: true,
        }),
      ],
      notes: [`the bound: at most ${mostLaterUs} us later than one that never rests`],
    },
    json,
  );
} finally {
  ip('netns', 'del', namespace);
}

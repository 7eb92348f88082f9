// SPDX-License-Identifier: Apache-2.0
// The demo: two gateways with a host behind each, and the life of a tunnel between them, step by step on real
// interfaces. Every line that begins with "ok" is a check that passed. The exit code is 0 when all checks passed, 1 with
// the name of the step that failed, and 130 after Ctrl-C. In each case nothing is left behind.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../test/e2e/namespace.js';
import { GatewayStory } from './gateway_story.js';

interface Options {
  json: string | undefined;
}

function optionsOf(argv: string[]): Options {
  const at = argv.indexOf('--json');
  const json = at < 0 ? undefined : argv[at + 1];
  if (argv.length !== (at < 0 ? 0 : 2) || (at >= 0 && json === undefined)) {
    process.stderr.write('usage: npm run demo [-- --json FILE]\n');
    process.exit(2);
  }
  return { json };
}

/** Everything on this machine that a demo could leave behind. */
function leftovers(): Record<string, string[]> {
  const list = (folder: string) => {
    try {
      return readdirSync(folder);
    } catch {
      return [];
    }
  };
  const processes = list('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('/psp-e2e-');
    } catch {
      return false;
    }
  });
  return {
    namespaces: list('/run/netns').filter((name) => name.startsWith('psp-')),
    processes,
    'files of DPDK': list('/var/run/dpdk'),
    'temporary folders': list(tmpdir()).filter((name) => name.startsWith('psp-e2e-')),
    hugepages: /^HugePages_Total:.*$/m.exec(readFileSync('/proc/meminfo', 'utf8')) ?? [],
    tables: run('nft', 'list', 'tables').split('\n').filter(Boolean),
  };
}

async function main(): Promise<void> {
  const { json } = optionsOf(process.argv.slice(2));
  const began = performance.now();
  const before = leftovers();
  const demo = new GatewayStory();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => demo.interrupt());
  }
  let failure: unknown;
  try {
    await demo.run();
  } catch (error) {
    failure = error;
    // Ctrl-C also ends the command that is being awaited; this process receives its signal a moment later.
    await sleep(50);
  }
  const { interrupted } = demo;
  const logs = failure === undefined || interrupted ? '' : (demo.topology?.logs() ?? '');
  try {
    if (failure === undefined && !interrupted) {
      await demo.story.step('Everything is removed', async () => {
        await demo.topology?.close();
        const after = leftovers();
        for (const [what, now] of Object.entries(after)) {
          const left = now.filter((entry) => !before[what]?.includes(entry));
          demo.story.state(left.length === 0, `${what}: nothing is left`, left.join(', '));
        }
      });
    } else await demo.topology?.close();
  } catch (error) {
    failure ??= error;
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const ok = failure === undefined && !interrupted;
  if (json !== undefined) {
    const outcome = ok
      ? { ok }
      : { ok, failedStep: demo.story.at, failure: interrupted ? 'interrupted' : String(failure) };
    writeFileSync(
      json,
      `${JSON.stringify(demo.report({ ...outcome, seconds: Number(seconds) }), null, 2)}\n`,
    );
  }
  if (interrupted) process.stdout.write(`\ninterrupted at "${demo.story.at}"; everything was removed\n`);
  else if (ok) process.stdout.write(`\nAll checks passed, in ${seconds} s.\n`);
  else process.stdout.write(`${logs}\nFAILED at "${demo.story.at}": ${(failure as Error).message}\n`);
  process.exit(interrupted ? 130 : ok ? 0 : 1);
}

await main();

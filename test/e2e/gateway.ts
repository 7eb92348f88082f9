// SPDX-License-Identifier: Apache-2.0
// One whole node in a namespace: `psp up` as an operator starts it, queried with `psp status|flows|rotate --json` as
// an operator does, or by a process that stays (operator.ts). Its log and its output go to two files beside its node
// file.
import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Service } from '../../services/shared/contracts.js';
import { fromPackageRoot } from '../../services/shared/process/package_root.js';
import { expectSchema } from '../json_schema.js';
import { ended, type Namespace, type Result, run, signal, until } from './namespace.js';
import { type Numbers, numbersOf } from './numbers.js';
import { Operator } from './operator.js';

const psp = fromPackageRoot('dist/cli/psp.js');
/** Ends a process whose polling threads allocate memory. */
export const noAllocation = fromPackageRoot('build/native/libno_allocation.so');

const shippedAddon = fromPackageRoot('build/native/psp_addon.node');
/** Every process that `ip netns exec` starts has its own mounts. Core dumps are allowed, as far as the kernel goes. */
const withAddon = 'mount --bind "$1" "$2" && shift 2 && ulimit -c unlimited && exec "$@"';

export interface GatewayOptions {
  node: 'a' | 'b';
  namespace: Namespace;
  /** As made by initNodes. */
  folder: string;
  log: 'trace' | 'debug' | 'info' | 'error';
  /** NAME=VALUE for `psp up` and its services. */
  environment?: readonly string[];
  /** A file that takes the place of the shipped addon, for this node alone. */
  addon?: string | undefined;
}

/** Processes of a node besides `psp up` itself. */
export type Child = Service | 'nats-server' | 'nats-audit';

export interface FlowLine {
  source: string;
  destination: string;
  direction: 'egress' | 'ingress';
  state: string;
  /** 0x and eight hex digits; null if there is none. */
  spi: string | null;
  version: number | null;
  packets: number;
  held: number;
  liveSpis: number;
}

/** Changes a node's file before `psp init` reads it. */
export type Edit = (node: 'a' | 'b', yaml: string) => string;

/** Exchanges of these nodes do not time out, however slow the machine is. */
export const unhurried: Edit = (_, yaml) =>
  `${yaml.replace('keyExchange: { ', 'keyExchange: { exchangeMs: 20000, callMs: 15000, ')}engine: { holdMs: 20000 }\n`;

/** Creates certificates, secrets and node files for a and b from the example in the documentation. */
export function initNodes(folder: string, outer: 4 | 6, edit: Edit): void {
  const from = join(folder, 'from');
  mkdirSync(from);
  for (const node of ['a', 'b'] as const) {
    const example = readFileSync(fromPackageRoot(`deploy/examples/two-nodes/${node}.yaml`), 'utf8');
    const wire = outer === 4 ? example : example.replace(/192\.0\.2\.(\d)\/24/, 'fd00:99::$1/64');
    const state = `stateDir: ${folder}/state-${node}\n`;
    writeFileSync(join(from, `${node}.yaml`), edit(node, `${wire}${state}`));
  }
  run(process.execPath, psp, 'init', 'a', 'b', '--dir', join(folder, 'nodes'), '--from', from);
}

export class Gateway {
  readonly namespace: Namespace;
  /** The folder of this node's files. */
  readonly files: string;
  readonly logFile: string;
  /** The output of `psp up`: "ready", and a JSON line per sample. */
  readonly outFile: string;
  readonly #operator: Operator;
  #child: ChildProcess | undefined;

  constructor(private readonly options: GatewayOptions) {
    this.namespace = options.namespace;
    this.files = join(options.folder, 'nodes', options.node);
    this.logFile = join(options.folder, `${options.node}.log`);
    this.outFile = join(options.folder, `${options.node}.out`);
    this.#operator = new Operator(options.namespace);
  }

  /** Starts `psp up`; `ready` resolves when the node is running. @param logTo in place of its log file. */
  launch(logTo = this.logFile): void {
    const { log: level, environment = [], addon } = this.options;
    const [log, out] = [openSync(logTo, 'a'), openSync(this.outFile, 'w')];
    const args = [psp, 'up', '-c', join(this.files, 'node.yaml')];
    const set = [`PSP_LOG_LEVEL=${level}`, `LD_PRELOAD=${noAllocation}`, ...environment];
    const node = ['env', ...set, process.execPath, ...args];
    const words = addon === undefined ? node : ['sh', '-c', withAddon, 'sh', addon, shippedAddon, ...node];
    this.#child = this.namespace.spawn(words[0] as string, words.slice(1), ['ignore', out, log]);
    for (const file of [log, out]) closeSync(file);
  }

  async start(): Promise<void> {
    this.launch();
    await this.ready();
  }

  /** Resolves once `psp up` prints `ready`. @throws Error with the end of the log if it ended. */
  async ready(timeoutMs = 90_000): Promise<void> {
    try {
      await until(
        `gateway ${this.options.node} is ready`,
        () => {
          const { exitCode, signalCode } = this.#child as ChildProcess;
          const end = exitCode ?? signalCode;
          if (end !== null) throw new Error(`psp up of gateway ${this.options.node} ended with ${end}`);
          return /^ready$/m.test(this.printed());
        },
        timeoutMs,
      );
    } catch (cause) {
      const tail = this.log().trimEnd().split('\n').slice(-20).join('\n');
      throw new Error(`${(cause as Error).message}\n${tail}`, { cause });
    }
  }

  /** SIGTERM to `psp up`, which stops everything in order; SIGKILL to processes that remain after half a minute. */
  async stop(): Promise<void> {
    await this.#operator.stop();
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = ended(child);
    child.kill('SIGTERM');
    const late = await Promise.race([gone.then(() => false), sleep(30_000, true, { ref: false })]);
    if (late) for (const pid of this.namespace.processes()) signal(pid, 'SIGKILL');
    await gone;
  }

  /** Process id of a child; undefined while it is down. */
  pidOf(child: Child): number | undefined {
    const { node } = this.options;
    const servers: Partial<Record<Child, string>> = {
      'nats-server': `psp-${node}-bus`,
      'nats-audit': `psp-${node}-audit`,
    };
    return this.namespace.processes().find((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return words.some((word) => word.endsWith(`/${child}/main.js`) || word === servers[child]);
      } catch {
        return false;
      }
    });
  }

  /** Process id of `psp up` itself. */
  get pid(): number {
    return this.#child?.pid as number;
  }

  /** SIGKILL; resolves to the process id that died. */
  kill(child: Child): number {
    const pid = this.pidOf(child);
    if (pid === undefined) throw new Error(`${child} of gateway ${this.options.node} does not run`);
    signal(pid, 'SIGKILL');
    return pid;
  }

  /** Runs `psp -c node.yaml ...` in this gateway's namespace, in its own process. */
  psp(...args: string[]): Promise<Result> {
    return this.namespace.try(process.execPath, [psp, '-c', join(this.files, 'node.yaml'), ...args]);
  }

  /** As `psp`, by a process that stays: for repeated queries. */
  ask(...args: string[]): Promise<Result> {
    return this.#operator.ask(['-c', join(this.files, 'node.yaml'), ...args]);
  }

  async #json<T>(...args: [string, ...string[]]): Promise<T> {
    const { code, stdout, stderr } = await this.ask(...args, '--json');
    // `psp status` prints everything it has and exits with 1 when a service is silent.
    if (code !== 0 && !(args[0] === 'status' && stdout !== ''))
      throw new Error(`psp ${args.join(' ')} ended with ${code}: ${stderr.trim()}`);
    const told = JSON.parse(stdout);
    expectSchema(args[0], told);
    return told as T;
  }

  async numbers(): Promise<Numbers> {
    return numbersOf(await this.#json('status'));
  }

  async flows(): Promise<FlowLine[]> {
    return (await this.#json<{ flows: FlowLine[] }>('flows', '--limit', '1000000')).flows;
  }

  /** `psp rotate`. @returns the new generation. */
  async rotate(): Promise<number> {
    return (await this.#json<{ generation: number }>('rotate')).generation;
  }

  /** The output of this node since it was started. */
  printed(): string {
    return existsSync(this.outFile) ? readFileSync(this.outFile, 'utf8') : '';
  }

  /** The log of this node. */
  log(): string {
    return existsSync(this.logFile) ? readFileSync(this.logFile, 'utf8') : '';
  }
}

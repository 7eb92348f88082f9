// SPDX-License-Identifier: Apache-2.0
// A real nats-server on a free port of loopback, with the configuration that a node would run it with. Tests
// start and stop it; `stop` keeps the port so that the same server can be started again.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bus, type BusOptions } from '../../services/shared/bus.js';
import { type BusUser, busUsers } from '../../services/shared/contracts.js';
import { renderNatsConfig } from '../../services/shared/nats_config.js';
import { until } from '../e2e/namespace.js';

/**
 * Below the ports that kernels choose by themselves (32768 and up), so that no connection takes one before it is used;
 * each worker of vitest has its own share, and begins somewhere in it, because other runs may go on beside this one.
 */
const share = { first: 10_000 + 4000 * ((Number(process.env.VITEST_POOL_ID ?? 1) - 1) % 5), size: 4000 };
let turn = Math.floor(Math.random() * share.size);

/** A port of 127.0.0.1 that nobody listens on, and that is not given twice soon. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = share.first + (turn++ % share.size);
    const probe = createServer();
    const isFree = new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!(await isFree)) continue;
    probe.close();
    await once(probe, 'close');
    return port;
  }
}

/** What the audit stream of a test may keep. */
export const streamBytes = 64 * 1024 * 1024;

export class NatsServer {
  readonly passwords = Object.fromEntries(busUsers.map((user) => [user, `password-of-${user}`])) as Record<
    BusUser,
    string
  >;
  #child: ChildProcess | undefined;

  private constructor(
    readonly node: string,
    readonly listen: string,
    private readonly folder: string,
  ) {
    const jetStream = { folder: this.streamFolder, streamBytes };
    writeFileSync(this.configFile, renderNatsConfig({ node, listen, passwords: this.passwords, jetStream }));
  }

  /** Made, but not started. */
  static async create(node = 'a'): Promise<NatsServer> {
    const folder = mkdtempSync(join(tmpdir(), 'psp-nats-'));
    return new NatsServer(node, `127.0.0.1:${await freePort()}`, folder);
  }

  static async start(node = 'a'): Promise<NatsServer> {
    const server = await NatsServer.create(node);
    await server.start();
    return server;
  }

  get configFile(): string {
    return join(this.folder, 'nats.conf');
  }

  /** What a power cut could roll back. */
  get streamFolder(): string {
    return join(this.folder, 'jetstream');
  }

  get pid(): number {
    return this.#child?.pid as number;
  }

  /** @param stream false: without what `psp up` makes there. */
  async start({ stream = true } = {}): Promise<void> {
    const child = spawn('/usr/sbin/nats-server', ['-c', this.configFile], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    let output = '';
    await new Promise<void>((resolve, reject) => {
      child.stderr.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        if (output.includes('Server is ready')) resolve();
      });
      child.once('exit', () => reject(new Error(`nats-server ended: ${output}`)));
    });
    if (!stream) return;
    const operator = await this.connect('operator');
    let why: unknown;
    const made = () => {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error('nats-server ended');
      return operator.stream.ensure(streamBytes).then(
        () => true,
        (error: unknown) => {
          why = error;
          return false;
        },
      );
    };
    await until('the audit stream is made', made).catch((cause) => {
      throw new Error(`the audit stream is not made: ${why}\n${output}`, { cause });
    });
    await operator.close();
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  async remove(): Promise<void> {
    await this.stop('SIGKILL');
    rmSync(this.folder, { recursive: true });
  }

  connect(user: BusUser, options: Partial<BusOptions> = {}): Promise<Bus> {
    const { node, listen: server } = this;
    return Bus.connect({ node, server, user, password: this.passwords[user], ...options });
  }
}

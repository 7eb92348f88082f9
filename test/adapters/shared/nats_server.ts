// SPDX-License-Identifier: Apache-2.0
// A real nats-server on a free loopback port, with the configuration that a node would use: the one for everything
// except audit, or an AuditServer. Tests start and stop it; `stop` keeps the port so that the same server can be
// started again.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bus, type BusOptions } from '../../../services/shared/bus/bus.js';
import { renderAuditConfig, renderBusConfig } from '../../../services/shared/bus/nats_config.js';
import { BusStream } from '../../../services/shared/bus/stream.js';
import { type BusUser, busUsers } from '../../../services/shared/contracts.js';
import { until } from '../../e2e/namespace.js';

/**
 * Below the ports that kernels choose by themselves (32768 and up), so that no connection takes one before it is
 * used. Each worker of vitest has its own range, and starts at a random position in it, because other runs may take
 * place at the same time.
 */
const share = { first: 10_000 + 4000 * ((Number(process.env.VITEST_POOL_ID ?? 1) - 1) % 5), size: 4000 };
let turn = Math.floor(Math.random() * share.size);

/** A free port of 127.0.0.1 that is not returned again soon. */
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

/** An address at which no process listens. */
export const nobody = '127.0.0.1:2';

/** Size limit of the audit stream of a test. */
export const streamBytes = 64 * 1024 * 1024;

export class NatsServer {
  readonly passwords = Object.fromEntries(busUsers.map((user) => [user, `password-of-${user}`])) as Record<
    BusUser,
    string
  >;
  #child: ChildProcess | undefined;
  #audit: AuditServer | undefined;

  protected constructor(
    public node: string,
    readonly listen: string,
    protected readonly folder: string,
  ) {
    writeFileSync(this.configFile, this.config());
  }

  protected config(): string {
    return renderBusConfig(this);
  }

  /** Created, but not started. */
  static async create(node = 'a'): Promise<NatsServer> {
    return new NatsServer(node, `127.0.0.1:${await freePort()}`, mkdtempSync(join(tmpdir(), 'psp-nats-')));
  }

  /** With an audit server beside it, for services of this node. */
  static async start(node = 'a'): Promise<NatsServer> {
    const server = await NatsServer.create(node);
    await server.start();
    server.#audit = await AuditServer.start(node);
    return server;
  }

  /** The address of the audit server beside it; without one, an address at which no process listens. */
  get auditListen(): string {
    return this.#audit?.listen ?? nobody;
  }

  get configFile(): string {
    return join(this.folder, 'nats.conf');
  }

  get pid(): number {
    return this.#child?.pid as number;
  }

  /** Its log output. */
  protected output = '';

  async start(): Promise<void> {
    const child = spawn('/usr/sbin/nats-server', ['-c', this.configFile], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    this.output = '';
    await new Promise<void>((resolve, reject) => {
      child.stderr.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
        if (this.output.includes('Server is ready')) resolve();
      });
      child.once('exit', () => reject(new Error(`nats-server ended: ${this.output}`)));
    });
  }

  /** Whether it still runs. */
  protected get isRunning(): boolean {
    return this.#child?.exitCode === null && this.#child.signalCode === null;
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
    await this.#audit?.remove();
    await this.stop('SIGKILL');
    rmSync(this.folder, { recursive: true });
  }

  connect(user: BusUser, options: Partial<BusOptions> = {}): Promise<Bus> {
    const { node, listen: server } = this;
    return Bus.connect({ node, server, user, password: this.passwords[user], ...options });
  }
}

/** The announcement of a service. */
export const asService = { service: { description: 'a test', version: '0.1.0' } } as const;

export class AuditServer extends NatsServer {
  static override async create(node = 'a'): Promise<AuditServer> {
    return new AuditServer(node, `127.0.0.1:${await freePort()}`, mkdtempSync(join(tmpdir(), 'psp-nats-')));
  }

  static override async start(node = 'a'): Promise<AuditServer> {
    const server = await AuditServer.create(node);
    await server.start();
    return server;
  }

  protected override config(): string {
    return renderAuditConfig({ ...this, folder: this.streamFolder, streamBytes });
  }

  /** The files that a power failure could roll back. */
  get streamFolder(): string {
    return join(this.folder, 'jetstream');
  }

  /**
   * @param stream false: without the stream that `psp up` creates there.
   */
  override async start({ stream = true } = {}): Promise<void> {
    await super.start();
    if (!stream) return;
    const operator = await this.stream('operator');
    let why: unknown;
    const made = () => {
      if (!this.isRunning) throw new Error('nats-server ended');
      return operator.ensure(streamBytes).then(
        () => true,
        (error: unknown) => {
          why = error;
          return false;
        },
      );
    };
    await until('the audit stream is made', made).catch((cause) => {
      throw new Error(`the audit stream is not made: ${why}\n${this.output}`, { cause });
    });
    await operator.close();
  }

  /** Gives the node another name from its next start on. */
  rename(node: string): void {
    this.node = node;
    writeFileSync(this.configFile, this.config());
  }

  stream(user: BusUser, options: Partial<BusOptions> = {}): Promise<BusStream> {
    const { node, listen: server } = this;
    return BusStream.connect({ node, server, user, password: this.passwords[user], ...options });
  }
}

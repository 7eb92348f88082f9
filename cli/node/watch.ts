// SPDX-License-Identifier: Apache-2.0
// The tasks of `psp up` while its children run: it probes them over the bus, reports when all of them answer, reloads the
// node file on request, and maintains what audit needs. A probe is a round trip with a deadline through everything that the child works with,
// because a server that accepts connections may still hang. Services are judged only while the bus answers.
import { setTimeout as delay } from 'node:timers/promises';
import { Bus, type Discovered } from '../../services/shared/bus/bus.js';
import { BusStream } from '../../services/shared/bus/stream.js';
import type { NodeConfig } from '../../services/shared/config/config.js';
import { contracts, type Service, services } from '../../services/shared/contracts.js';
import type { Logger } from '../../services/shared/process/log.js';
import { Connects, keepStream } from '../audit/stream_keeper.js';
import { loginOf } from '../operator.js';
import { print } from '../output.js';
import { auditServer, busServer } from './children.js';
import { callerOn, type NodeReload, type ServiceCaller } from './node_reload.js';
import { ensureAuditFolders } from './state_dir.js';
import type { Probed, Supervisor } from './supervisor.js';

const discoverMs = 250;
/** After this time, services that still do not answer are logged. */
const impatientMs = 10_000;
/** Interval between probes of the children, and the timeout of a probe. */
const probeEveryMs = 1000;
const probeMs = 1500;

/** What `psp up` does on the bus while its children run. */
export async function attend(
  config: NodeConfig,
  supervisor: Supervisor,
  reload: NodeReload,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  let bus: Bus | undefined;
  const hangup = () => void reload.reload(bus === undefined ? unreached : callerOn(bus), 'SIGHUP');
  process.on('SIGHUP', hangup);
  const joined = Bus.connect({ ...loginOf(config), server: config.bus.listen, signal }).then(
    (made) => {
      bus = made;
      made.respond(contracts.nodeReload, ({ author }) => reload.reload(callerOn(made), author));
      return announce(made, supervisor, log, signal);
    },
    () => undefined,
  );
  while (!signal.aborted) {
    const found = await probed(bus);
    supervisor.probed(busServer, found);
    if (bus !== undefined && found === 'answered') {
      await probeServices(bus, supervisor);
      void reload.tend(callerOn(bus));
    }
    await delay(probeEveryMs, undefined, { signal }).catch(() => undefined);
  }
  process.off('SIGHUP', hangup);
  await joined;
  await bus?.close();
}

/** Before the bus is connected: services apply the configuration once they answer. */
const unreached: ServiceCaller = async () => [];

async function probeServices(bus: Bus, supervisor: Supervisor): Promise<void> {
  const areAll = (found: readonly Discovered[]) => missingIn(found).length === 0;
  const found = await bus.discover(discoverMs, probeMs, areAll).catch(() => undefined);
  if (found === undefined) return;
  const missing = missingIn(found);
  for (const service of services) {
    supervisor.probed(service, missing.includes(service) ? 'away' : 'answered');
  }
}

async function probed(server: Pick<Bus, 'connected' | 'answers'> | undefined): Promise<Probed> {
  if (!server?.connected) return 'away';
  return (await server.answers(probeMs)) ? 'answered' : 'silent';
}

const missingIn = (found: readonly Discovered[]): Service[] =>
  services.filter((service) => !found.some(({ name }) => name === service));

/** Maintains what audit needs: folders, its server and the stream. Nothing else waits for any of it. */
export async function keepAudit(
  config: NodeConfig,
  supervisor: Supervisor,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const folders = new AuditFolders(config.stateDir, log, () => supervisor.restart(auditServer));
  const connects = new Connects();
  let stream: BusStream | undefined;
  const kept = BusStream.connect({
    ...loginOf(config),
    server: config.audit.listen,
    // `then` reports the first connect.
    onState: (connected) => connected && stream !== undefined && connects.notify(),
    signal,
  }).then(
    (made) => {
      stream = made;
      return keepStream(made, config.audit.streamBytes, connects, log, signal);
    },
    () => undefined,
  );
  while (!signal.aborted) {
    folders.look();
    supervisor.probed(auditServer, await probed(stream));
    await delay(probeEveryMs, undefined, { signal }).catch(() => undefined);
  }
  await kept;
  await stream?.close();
}

/** Creates missing folders of audit: a disk may be lost, and come back empty. */
class AuditFolders {
  #reported = '';
  #known: string | undefined;

  /**
   * @param onMoved the stream's folder is a different one than before: its server still writes to files that are no
   * longer reachable.
   */
  constructor(
    private readonly stateDir: string,
    private readonly log: Logger,
    private readonly onMoved: () => void,
  ) {}

  look(): void {
    try {
      const folder = ensureAuditFolders(this.stateDir);
      if (this.#known !== undefined && folder !== this.#known) {
        this.log.warn(
          { child: auditServer },
          'the folder of the audit stream has changed; its server is restarted',
        );
        this.onMoved();
      }
      this.#known = folder;
      this.#reported = '';
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#reported)
        this.log.warn({ err: message }, 'the folders of audit cannot be created');
      this.#reported = message;
    }
  }
}

/** Prints "ready" once every service has answered. */
async function announce(bus: Bus, supervisor: Supervisor, log: Logger, signal: AbortSignal): Promise<void> {
  const missing = new Set<string>(services);
  const impatience = setTimeout(
    () => log.warn({ missing: [...missing] }, 'services do not answer yet'),
    impatientMs,
  );
  while (missing.size > 0 && !signal.aborted) {
    for (const { name } of await bus.discover(discoverMs).catch(() => [])) {
      supervisor.probed(name, 'answered');
      missing.delete(name);
    }
    await delay(50);
  }
  clearTimeout(impatience);
  if (missing.size === 0) print('ready');
}

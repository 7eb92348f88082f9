// SPDX-License-Identifier: Apache-2.0
// Reads the node file again while the node runs, for `psp reload` and SIGHUP. The file is checked as at the start; then every
// service checks the configuration, and only if none refuses it each applies it, the dataplane last, because it then
// requests tunnels with new peers at once. If the dataplane fails, the others get the former configuration again. Keys that
// take a restart keep their values, and the answer names them. The configuration that the node runs is also written to a file,
// from which a service that is restarted reads it. A service that does not answer gets the request again and again, until
// it answers.
import type { ConfigReload, ConfigReloaded, NodeReloaded } from '../../proto/gen/bus.js';
import type { Bus } from '../../services/shared/bus/bus.js';
import { changesBetween, withoutRestartKeys } from '../../services/shared/config/changes.js';
import {
  type ConfigSource,
  checkConfig,
  configInvalid,
  contentOf,
  formatFault,
  type NodeConfig,
  readConfig,
} from '../../services/shared/config/config.js';
import { writeRunning } from '../../services/shared/config/running_file.js';
import { reloadContracts, type Service, serviceRow, services } from '../../services/shared/contracts.js';
import { PspError } from '../../services/shared/errors.js';
import { unixMs } from '../../services/shared/process/clock.js';
import type { Logger } from '../../services/shared/process/log.js';

/** How long a service may take: a large configuration on a busy machine. */
const answerMs = 10_000;
/** How long the answers of further replicas may take after the first one. */
const gatherMs = 500;

/** Sends requests to the services of the node. */
export type ServiceCaller = (service: Service, request: ConfigReload) => Promise<ConfigReloaded[]>;

/** A new configuration, and how it was made. */
interface Next {
  text: string;
  config: NodeConfig;
  applied: string[];
}

/** What `psp up` does itself for a changed node file. */
export interface OwnReload {
  /** Before services apply it: allows what the former and the new configuration need. @throws PspError */
  begin(before: NodeConfig, next: NodeConfig): Promise<void>;
  /** Once all services use a configuration: allows what it needs, and nothing else. */
  end(config: NodeConfig): Promise<void>;
}

export class NodeReload {
  #text: string;
  #config: NodeConfig;
  /** Requests that a service has not answered yet. */
  readonly #waiting = new Map<Service, ConfigReload>();
  #last: Promise<unknown> = Promise.resolve();
  #isTending = false;

  /**
   * @param text of the node file with which the node was started.
   * @param runningFile receives the configuration that the node runs. @param own what `psp up` does itself.
   */
  constructor(
    text: string,
    config: NodeConfig,
    private readonly runningFile: string,
    private readonly log: Logger,
    private readonly own: OwnReload,
  ) {
    this.#text = text;
    this.#config = config;
  }

  /** Reads and applies the node file, one request after the other. @param author as the audit shows it. */
  reload(call: ServiceCaller, author: string): Promise<NodeReloaded> {
    const answer = this.#last.then(() => this.#answer(call, author));
    this.#last = answer.catch(() => undefined);
    return answer;
  }

  /** To be called once a second: sends what a service has not answered yet. */
  async tend(call: ServiceCaller): Promise<void> {
    if (this.#waiting.size === 0 || this.#isTending) return;
    this.#isTending = true;
    this.#last = this.#last.then(async () => {
      for (const [service, request] of this.#waiting) {
        if ((await this.#call(call, service, request)).length > 0) this.#waiting.delete(service);
      }
      if (this.#waiting.size === 0) await this.own.end(this.#config);
      this.#isTending = false;
    });
    await this.#last;
  }

  async #answer(call: ServiceCaller, author: string): Promise<NodeReloaded> {
    try {
      const next = this.#read();
      await this.#demandAccepted(call, next, author);
      await this.own.begin(this.#config, next.config);
      await this.#keep(next);
      const waiting = await this.#apply(call, next, author);
      this.#text = next.text;
      this.#config = next.config;
      if (waiting.length === 0) await this.own.end(next.config);
      const restartKeys = [...next.config.source.restartKeys];
      this.log.info({ by: author, applied: next.applied, restartKeys, waiting }, 'node file reloaded');
      return { code: '', message: '', applied: next.applied, restartKeys, waiting };
    } catch (error) {
      if (!(error instanceof PspError)) throw error;
      const { code, message } = error;
      this.log.error({ by: author, code, err: message }, 'node file refused, nothing changed');
      const state = { fileDigest: '', restartKeys: [], refusal: code, readMs: BigInt(unixMs()) };
      const refused = { config: '', state, author, checkOnly: false };
      for (const service of services) void this.#call(call, service, refused);
      return { code, message, applied: [], restartKeys: [], waiting: [] };
    }
  }

  /** @throws PspError FILE_UNREADABLE, CONFIG_INVALID or RESTART_NEEDED. */
  #read(): Next {
    const { files, environment } = this.#config;
    const file = files.config;
    const text = readConfig(file);
    const inFile = checkConfig(text, file, environment);
    if (!('config' in inFile)) throw configInvalid(file, inFile.faults);
    const changes = changesBetween(this.#config, inFile.config);
    const ofKind = (kind: string) => changes.flatMap(({ path, takes }) => (takes === kind ? [path] : []));
    const source: ConfigSource = { fileDigest: inFile.config.digest, restartKeys: ofKind('restart') };
    if (source.restartKeys.length === 0) return { text, config: inFile.config, applied: ofKind('reload') };
    const kept = JSON.stringify(withoutRestartKeys(contentOf(text), contentOf(this.#text)));
    const result = checkConfig(kept, file, environment, source);
    if (!('config' in result)) {
      const faults = result.faults.map(({ line: _, ...fault }) => formatFault(fault)).join('\n');
      throw new PspError('RESTART_NEEDED', { file, keys: source.restartKeys.join(', '), faults });
    }
    return { text: kept, config: result.config, applied: ofKind('reload') };
  }

  /** @throws the error of a service that cannot apply it. */
  async #demandAccepted(call: ServiceCaller, next: Next, author: string): Promise<void> {
    const request = requestOf(next, author, true);
    const answers = await Promise.all(services.map((service) => this.#call(call, service, request)));
    const refused = answers.flat().find(({ code }) => code !== '');
    if (refused !== undefined) throw errorOf(refused);
  }

  /** @throws PspError FILE_UNWRITABLE; then nothing changed. */
  async #keep({ text, config }: Next): Promise<void> {
    try {
      writeRunning(this.runningFile, text, config.source);
    } catch (error) {
      await this.own.end(this.#config);
      throw error;
    }
  }

  /** @returns the services that did not answer. @throws the error of a service that could not apply it. */
  async #apply(call: ServiceCaller, next: Next, author: string): Promise<Service[]> {
    this.#waiting.clear();
    const failed = await this.#send(call, requestOf(next, author, false));
    if (failed === undefined) return [...this.#waiting.keys()];
    writeRunning(this.runningFile, this.#text, this.#config.source);
    const former = { text: this.#text, config: this.#config, applied: [] };
    await this.#send(call, requestOf(former, author, false));
    await this.own.end(this.#config);
    throw errorOf(failed);
  }

  /** @returns the answer of a service that could not apply it; the services after it receive nothing. */
  async #send(call: ServiceCaller, request: ConfigReload): Promise<ConfigReloaded | undefined> {
    for (const service of [...services].reverse()) {
      const answers = await this.#call(call, service, request);
      if (answers.length === 0) this.#waiting.set(service, request);
      else this.#waiting.delete(service);
      const failed = answers.find(({ code }) => code !== '');
      if (failed !== undefined) return failed;
    }
    return undefined;
  }

  /** @returns the answers of all replicas; none if it could not be reached. */
  async #call(call: ServiceCaller, service: Service, request: ConfigReload): Promise<ConfigReloaded[]> {
    try {
      return await call(service, request);
    } catch (error) {
      if (!(error instanceof PspError)) throw error;
      return [];
    }
  }
}

/** Calls the services over the bus. */
export const callerOn =
  (bus: Bus): ServiceCaller =>
  async (service, request) =>
    serviceRow(service).hasReplicas
      ? bus.requestAll(reloadContracts[service], request, gatherMs, answerMs)
      : [await bus.request(reloadContracts[service], request, answerMs)];

const requestOf = ({ text, config }: Next, author: string, checkOnly: boolean): ConfigReload => {
  const { fileDigest, restartKeys } = config.source;
  const state = { fileDigest, restartKeys: [...restartKeys], refusal: '', readMs: 0n };
  return { config: text, state, author, checkOnly };
};

/** The error of a service, with its message as it is. */
function errorOf({ code, message }: ConfigReloaded): PspError {
  return new PspError('RELOAD_REFUSED', { code, detail: message });
}

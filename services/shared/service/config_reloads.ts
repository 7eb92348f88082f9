// SPDX-License-Identifier: Apache-2.0
// How a service takes a changed node file while it runs: it checks the configuration as at its start, finds what changed,
// and applies it, one request after the other. `psp up` sends it; the log level changes in every service alike.
import type { ConfigReload, ConfigReloaded, ConfigState } from '../../../proto/gen/bus.js';
import type { AuditRecorder } from '../audit/trail.js';
import { changesBetween } from '../config/changes.js';
import { checkConfig, configInvalid, type NodeConfig } from '../config/config.js';
import { PspError } from '../errors.js';
import { unixMs } from '../process/clock.js';
import type { Logger } from '../process/log.js';

/** What a service does with a changed node file beside that. */
export interface Reloading {
  /** Checks what the node file does not show. @throws PspError; then nothing changes. */
  check?(next: NodeConfig): void;
  /** Applies it. @throws PspError if nothing changed. */
  apply(next: NodeConfig): void | Promise<void>;
}

/** The most keys in one audit event. */
const keysShown = 64;

export class ConfigReloads {
  #current: NodeConfig;
  #refusal = '';
  #readMs: bigint;
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    started: NodeConfig,
    private readonly reloading: Reloading,
    private readonly log: Pick<Logger, 'info' | 'warn' | 'level'>,
    private readonly audit: AuditRecorder,
  ) {
    this.#current = started;
    this.#readMs = BigInt(unixMs());
  }

  /** The node file as it was read last. */
  get state(): ConfigState {
    const { fileDigest, restartKeys } = this.#current.source;
    return { fileDigest, restartKeys: [...restartKeys], refusal: this.#refusal, readMs: this.#readMs };
  }

  /** Carries out a request of `psp up`, after the ones before. Expected failures are codes in the answer. */
  on(request: ConfigReload): Promise<ConfigReloaded> {
    const answer = this.#last.then(() => this.#answer(request));
    this.#last = answer.catch(() => undefined);
    return answer;
  }

  async #answer({ config, state, author, checkOnly }: ConfigReload): Promise<ConfigReloaded> {
    const { fileDigest = '', restartKeys = [], refusal = '' } = state ?? {};
    try {
      if (refusal !== '') {
        this.#refuse(refusal, author);
        return { code: '', message: '' };
      }
      const { files, environment } = this.#current;
      const result = checkConfig(config, files.config, environment, { fileDigest, restartKeys });
      if (!('config' in result)) throw configInvalid(files.config, result.faults);
      this.reloading.check?.(result.config);
      if (!checkOnly) await this.#apply(result.config, author);
      return { code: '', message: '' };
    } catch (error) {
      if (!(error instanceof PspError)) throw error;
      this.#refuse(error.code, author);
      return { code: error.code, message: error.message };
    }
  }

  async #apply(next: NodeConfig, author: string): Promise<void> {
    const applied = changesBetween(this.#current, next).map(({ path }) => path);
    const { fileDigest, restartKeys } = next.source;
    if (applied.length > 0) await this.reloading.apply(next);
    const isNew = applied.length > 0 || fileDigest !== this.#current.source.fileDigest;
    this.#current = next;
    this.#refusal = '';
    this.#readMs = BigInt(unixMs());
    if (!isNew) return;
    this.log.level = next.log.level;
    this.log.info({ by: author, applied, restartKeys }, 'configuration reloaded');
    this.audit.record('config.reloaded', {
      by: author,
      sha256: fileDigest,
      applied: applied.slice(0, keysShown),
      restartKeys: restartKeys.slice(0, keysShown),
    });
  }

  #refuse(code: string, by: string): void {
    this.#refusal = code;
    this.#readMs = BigInt(unixMs());
    this.log.warn({ code, by }, 'configuration refused, nothing changed');
    this.audit.record('config.refused', { by, code });
  }
}

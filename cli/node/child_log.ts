// SPDX-License-Identifier: Apache-2.0
// Forwards the output of the children to stderr as JSON lines: those of services unchanged, those of nats-server and
// any other output (the stack of a crash, a notice of DPDK) inside a line of psp up. Lines that do not fit into the
// buffer are dropped; the service that wrote them counts them.
import { createLogger, type Logger, standardError } from '../../services/shared/process/log.js';

/** Interval between reports of dropped lines to the service that wrote them. */
const reportMs = 1000;

/** `[pid] 2026/11/30 19:00:00.000000 [INF] text` */
const natsLine = /^\[\d+\] [\d/]+ [\d:.]+ \[([A-Z]{3})\] ?(.*)$/s;
const natsLevels: Record<string, Level> = {
  TRC: 'trace',
  DBG: 'debug',
  INF: 'info',
  WRN: 'warn',
  ERR: 'error',
  FTL: 'fatal',
};

type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';

export class ChildLog {
  readonly #loggers = new Map<string, Logger>();
  readonly #dropped = new Map<string, number>();
  readonly #reporting: NodeJS.Timeout;

  /**
   * @param onDropped called at most once a second for each child, with the number of lines dropped since.
   */
  constructor(
    private readonly node: string,
    private loggedLevel: string,
    private readonly onDropped: (name: string, lines: number) => void,
  ) {
    this.#reporting = setInterval(() => this.#report(), reportMs).unref();
  }

  /** Forwards a line of a child. */
  line(name: string, text: string): void {
    if (isRecord(text)) {
      if (!standardError().write(`${text}\n`)) this.#dropped.set(name, (this.#dropped.get(name) ?? 0) + 1);
      return;
    }
    const [, code = '', message = text] = natsLine.exec(text) ?? [];
    if (message !== '') this.#loggerOf(name)[natsLevels[code] ?? 'warn'](message);
  }

  /** The least level of lines that are not records of a service. */
  set level(level: string) {
    this.loggedLevel = level;
    for (const logger of this.#loggers.values()) logger.level = level;
  }

  end(): void {
    clearInterval(this.#reporting);
  }

  #report(): void {
    for (const [name, lines] of this.#dropped) this.onDropped(name, lines);
    this.#dropped.clear();
  }

  #loggerOf(name: string): Logger {
    const logger = this.#loggers.get(name) ?? createLogger(name, this.node, this.loggedLevel);
    this.#loggers.set(name, logger);
    return logger;
  }
}

/** Whether a line was written by one of our loggers. */
function isRecord(text: string): boolean {
  if (!text.startsWith('{"level":')) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

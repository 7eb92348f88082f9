// SPDX-License-Identifier: Apache-2.0
// The lines of the children on their way to our stderr, each a JSON line: those of services as they are, those of
// nats-server and whatever else a process writes (the stack of a crash, a notice of DPDK) inside a line of ours.
// Lines that find no space are dropped; the service that wrote them counts them.
import { createLogger, type Logger, standardError } from '../../services/shared/process/log.js';

/** Between reports of dropped lines to the service that wrote them. */
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

  /** @param onDropped called at most once a second for each child, with the lines that were dropped since. */
  constructor(
    private readonly node: string,
    private readonly level: string,
    private readonly onDropped: (name: string, lines: number) => void,
  ) {
    this.#reporting = setInterval(() => this.#report(), reportMs).unref();
  }

  /** Passes on a line that a child wrote. */
  line(name: string, text: string): void {
    if (isRecord(text)) {
      if (!standardError().write(`${text}\n`)) this.#dropped.set(name, (this.#dropped.get(name) ?? 0) + 1);
      return;
    }
    const [, code = '', message = text] = natsLine.exec(text) ?? [];
    if (message !== '') this.#loggerOf(name)[natsLevels[code] ?? 'warn'](message);
  }

  end(): void {
    clearInterval(this.#reporting);
  }

  #report(): void {
    for (const [name, lines] of this.#dropped) this.onDropped(name, lines);
    this.#dropped.clear();
  }

  #loggerOf(name: string): Logger {
    const logger = this.#loggers.get(name) ?? createLogger(name, this.node, this.level);
    this.#loggers.set(name, logger);
    return logger;
  }
}

/** Whether a line is one of our loggers' already. */
function isRecord(text: string): boolean {
  if (!text.startsWith('{"level":')) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

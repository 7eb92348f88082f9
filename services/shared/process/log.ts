// SPDX-License-Identifier: Apache-2.0
// The logger: JSON lines on stderr. Field names are fixed: node, service, peer, flow, spi, code, ms, err. Messages are short
// constant sentences; data is in fields. Redaction here is the second protection of keys; the first is that no key byte is
// in a value that is logged. The logger never waits for the reader of stderr: see log_lines.ts.
import { type Logger, pino } from 'pino';
import type { Counter } from '../../../proto/gen/bus.js';
import { LogLines } from './log_lines.js';
import { standardOutlet } from './outlet.js';
import { within } from './within.js';

export type { Logger };

let lines: LogLines | undefined;

/** The lines that this process writes to stderr. */
export function standardError(): LogLines {
  if (lines !== undefined) return lines;
  const made = new LogLines(standardOutlet(2), noticeOf);
  process.once('exit', () => made.writeLast());
  lines = made;
  return made;
}

const timestamp = pino.stdTimeFunctions.isoTime;
const noticeOf = (dropped: number): string =>
  `{"level":"warn"${timestamp()},"dropped":${dropped},"msg":"log lines were dropped, stderr was not read"}\n`;

/** Resolves once all lines so far are written, or after the deadline. Call it before the process ends. */
export const flushLog = (deadlineMs: number): Promise<void> =>
  lines === undefined ? Promise.resolve() : within(deadlineMs, lines.finish());

/** Counts lines that were dropped because stderr was not read, here or by `psp up`. */
export const logCounters = (): Counter[] => [{ name: 'logDropped', value: BigInt(lines?.dropped ?? 0) }];

/** @param level one of pino's: trace, debug, info, warn, error, fatal, silent. */
export function createLogger(service: string, node: string, level: string): Logger {
  return pino(
    {
      level,
      base: { service, node },
      timestamp,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: [
          'key',
          'secret',
          'encryptionKey',
          '*.key',
          '*.secret',
          '*.encryptionKey',
          '*.password',
          'password',
        ],
        censor: '[redacted]',
      },
    },
    standardError(),
  );
}

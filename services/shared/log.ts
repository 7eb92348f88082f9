// SPDX-License-Identifier: Apache-2.0
// The one logger: JSON lines on stderr. Field names are fixed: node, service, peer, flow, spi, code, ms, err.
// Messages are short constant sentences, data goes into fields. Redaction here is the second lock; the first
// is that key bytes live in types that do not print.
import { destination, type Logger, pino } from 'pino';

export type { Logger };

/** @param level one of pino's: trace, debug, info, warn, error, fatal, silent. */
export function createLogger(service: string, node: string, level: string): Logger {
  return pino(
    {
      level,
      base: { service, node },
      timestamp: pino.stdTimeFunctions.isoTime,
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
    destination({ fd: 2, sync: true }),
  );
}

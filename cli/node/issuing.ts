// SPDX-License-Identifier: Apache-2.0
// What `psp init` and `psp certs` have in common: where the authority is, who reads a certificate, and how lifetimes are given.
import { InvalidArgumentError, Option } from 'commander';
import { millisecondsOf } from '../../services/shared/config/values.js';
import { accounts } from '../../services/shared/process/privileges.js';

/** The folder of the authority, beside those of the nodes. */
export const authorityFolder = 'ca';

/** A node's certificate and key. */
export const readByKeyExchange = { mode: 0o640, group: accounts.keyexchange.gid };

const dayMs = 86_400_000;
const leastMs = 60_000;
const mostMs = 100 * 365 * dayMs;

/** An option with a duration as in the node file, in milliseconds once it is parsed. */
export const lifetimeOption = (flags: string, of: string, defaultMs: number): Option =>
  new Option(flags, `lifetime ${of}, such as 90d or 12h`)
    .default(defaultMs, `${defaultMs / dayMs}d`)
    .argParser((text) => {
      const ms = millisecondsOf(text);
      if (ms === undefined || ms < leastMs || ms > mostMs)
        throw new InvalidArgumentError('a duration from 1m to 36500d is expected, such as 90d or 12h');
      return ms;
    });

// SPDX-License-Identifier: Apache-2.0
// TLS between gateways: version 1.3 only, certificates on both sides, and a peer is who its certificate says,
// not whoever answers at its address. A pair of certificate and key that does not match never gets as far as
// a handshake.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import tls from 'node:tls';
import { type ChannelCredentials, credentials, ServerCredentials } from '@grpc/grpc-js';
import { PspError } from '../../shared/errors.js';
import { soleIdentityOf } from '../../shared/identity.js';
import { readNodeFile, readSecretFile } from '../../shared/node_file.js';
import type { KeyExchangeConfig } from '../config.js';
import type { Peer } from '../core/rules.js';

export interface Credentials {
  server: ServerCredentials;
  /** Trusts only a server that holds this peer's identity. */
  towards(peer: Peer): ChannelCredentials;
}

function parsed<T>(file: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new PspError(
      'FILE_UNREADABLE',
      { file, detail: `no ${what}`, remedy: 'make it anew with `psp init`' },
      { cause },
    );
  }
}

/**
 * Reads the node's certificate files and makes TLS 1.3 the least version of this process.
 * @throws PspError FILE_UNREADABLE when one is missing, is of another node, or does not fit the others;
 * SECRET_EXPOSED.
 */
export function loadCredentials({ tls: files, identity }: KeyExchangeConfig): Credentials {
  tls.DEFAULT_MIN_VERSION = 'TLSv1.3';
  const [ca, certificate] = [readNodeFile(files.ca), readNodeFile(files.certificate)];
  const privateKey = readSecretFile(files.privateKey);
  parsed(files.ca, 'certificate in PEM', () => new X509Certificate(ca));
  const own = parsed(files.certificate, 'certificate in PEM', () => new X509Certificate(certificate));
  const key = parsed(files.privateKey, 'private key in PEM', () => createPrivateKey(privateKey));
  if (!own.checkPrivateKey(key)) {
    throw new PspError('FILE_UNREADABLE', {
      file: files.privateKey,
      detail: `it is not the key of ${files.certificate}`,
      remedy: 'put both files of one pair there',
    });
  }
  if (soleIdentityOf(own.raw) !== identity) {
    throw new PspError('FILE_UNREADABLE', {
      file: files.certificate,
      detail: `its one URI is not ${identity}`,
      remedy: 'put the certificate of this node there',
    });
  }
  return {
    server: ServerCredentials.createSsl(ca, [{ private_key: privateKey, cert_chain: certificate }], true),
    towards: (peer) =>
      credentials.createSsl(ca, privateKey, certificate, {
        checkServerIdentity: (_host, { raw }) => {
          const identity = soleIdentityOf(raw);
          if (identity === peer.identity) return undefined;
          return new Error(`its certificate is that of ${identity ?? 'nobody'}, not of ${peer.identity}`);
        },
      }),
  };
}

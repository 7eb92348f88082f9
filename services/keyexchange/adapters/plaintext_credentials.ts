// SPDX-License-Identifier: Apache-2.0
// The channel without TLS to a peer with insecureReferenceInterop. It has the place of PeerCredentials, and nothing to
// report about certificates.
import { ChannelCredentials } from '@grpc/grpc-js';
import type { PspError } from '../../shared/errors.js';
import type { ConnectionAge } from '../core/renewal.js';
import type { Presented } from './peer_credentials.js';

export class PlaintextCredentials extends ChannelCredentials {
  readonly failure: PspError | undefined;
  readonly ended: string | undefined;
  readonly age: ConnectionAge | undefined;
  readonly presented: Presented | undefined;
  readonly isOpen: boolean = false;

  judge(): void {}

  end(): void {}

  override _isSecure(): boolean {
    return false;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(...context: Parameters<ChannelCredentials['_createSecureConnector']>) {
    return ChannelCredentials.createInsecure()._createSecureConnector(...context);
  }
}

// SPDX-License-Identifier: Apache-2.0
// A gRPC channel to one peer with credentials of its own, so that a channel that replaces another one does not affect it. gRPC
// never repeats a call here.
import { Client, type connectivityState } from '@grpc/grpc-js';
import { monotonicMs } from '../../shared/process/clock.js';
import type { Peer } from '../core/rules.js';
import type { CertificateFiles } from './certificate_files.js';
import { PeerCredentials } from './peer_credentials.js';
import { maxMessageLength } from './peer_protocol.js';
import { PlaintextCredentials } from './plaintext_credentials.js';

const options = {
  'grpc.initial_reconnect_backoff_ms': 500,
  'grpc.max_reconnect_backoff_ms': 1000,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.max_receive_message_length': maxMessageLength,
  'grpc.enable_retries': 0,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
};

export class PeerChannel extends Client {
  readonly sinceMs = monotonicMs();
  readonly credentials: PeerCredentials | PlaintextCredentials;

  constructor(peer: Peer, files: CertificateFiles) {
    const credentials = peer.insecure ? new PlaintextCredentials() : new PeerCredentials(peer, files);
    super(peer.endpoint, credentials, options);
    this.credentials = credentials;
  }

  /** Requests a connection. @returns the state of the channel. */
  requestState(): connectivityState {
    return this.getChannel().getConnectivityState(true);
  }
}

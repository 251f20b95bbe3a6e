# Two stages: one that has a compiler, one that has the binary and its settings.
#   docker build -t adtrack .
# Builder and base are arguments, so that a house with its own images needs no other file.
ARG BUILDER=rust:1.95-slim-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package adtrack --bin adtrack \
 && strip target/release/adtrack -o /adtrack \
 && mkdir /data

FROM ${BASE}
# The roots that TLS to Kinesis is checked against; a slim base has none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /adtrack /usr/local/bin/adtrack
# For reading: it is compiled in. A file of yours is named by ADTRACK_CONFIG.
COPY config/default.toml /etc/adtrack/default.toml
# The event log. Mount a volume here: what is in it survives the container, and only then.
COPY --from=build --chown=65532:65532 /data /var/lib/adtrack
VOLUME /var/lib/adtrack
ENV ADTRACK_DATA_DIR=/var/lib/adtrack SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=2 CMD ["/usr/local/bin/adtrack", "health"]
ENTRYPOINT ["/usr/local/bin/adtrack"]
CMD ["serve"]

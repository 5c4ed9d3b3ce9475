# One image: the server, with ffmpeg for media. `--build-arg FEATURES=wharf/sandbox` makes one that talks to a sandbox
# network only, for trying and for tests.
FROM rust:1.95-slim-bookworm AS build
ARG FEATURES=""
WORKDIR /src
COPY . .
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
 && cargo build --profile dist --locked --bin wharf --features "$FEATURES"

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates ffmpeg tzdata \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /app wharf \
 && install -d -o wharf -g wharf -m 0700 /app /app/.sessions /app/.media
COPY --from=build /src/target/dist/wharf /usr/local/bin/wharf
USER wharf
WORKDIR /app
VOLUME ["/app/.sessions", "/app/.media"]
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["wharf", "healthcheck"]
ENTRYPOINT ["wharf"]
CMD ["serve", "--listen", "0.0.0.0"]

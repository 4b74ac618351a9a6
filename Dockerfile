# One image for every role of a node: docker build -t concordat .
FROM node:20-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc tsconfig.json tsconfig.build.json ./
COPY src src
COPY migrations migrations
# `npm ci` builds, which needs the compiler; what remains is what runs.
RUN npm ci && npm prune --omit=dev --ignore-scripts

FROM node:20-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/migrations migrations
COPY --from=build /build/dist dist
COPY examples examples
USER node
ENTRYPOINT ["node", "/app/dist/main.js"]
CMD ["serve"]

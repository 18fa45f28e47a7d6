# docker build -t protein-performer .
# docker run --rm -v "$PWD:/work" protein-performer train data.sources=[proteins.fasta.gz]
FROM python:3.12-slim
COPY pyproject.toml README.md LICENSE train.py /source/
COPY protein_performer /source/protein_performer
COPY conf /source/conf
COPY data /source/data
RUN pip install --no-cache-dir "/source[fast,remote]" && rm -rf /source
WORKDIR /work
ENTRYPOINT ["protein-performer"]

-- Texts are in the order of their bytes here, which is that of their code points.
SELECT 1;
